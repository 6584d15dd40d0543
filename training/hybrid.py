"""Fits a hybrid: its linear parent, its deep parents one after the other, and their weights."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, final

from pydantic import TypeAdapter

from service.autoencoders.hybrid import Hybrid, HybridConfig
from training.config import TrainingConfig
from training.data.datasets import Dataset
from training.errors import BadInputError
from training.fusion import choose_weights
from training.linear import fit_linear
from training.loop import PartsWatcher, Resumable, TrainingResult, Watcher, train
from training.presets import preset
from training.state import ANEW, PART_PREFIX, check_state
from training.task import RankingTask
from training.unread_settings import unread_by

LINEAR_PARENT: Final = "edlae"
# What a run passes on to those of its parents, where it was said.
INHERITED: Final = frozenset(TrainingConfig.model_fields) - {"model", "architecture", "loss"}


@final
@dataclass(frozen=True, slots=True)
class _Part:
    """A deep parent to be trained: its name in records, its settings, where its state is."""

    name: str
    settings: TrainingConfig
    resumable: Resumable | None


def fit_hybrid(
    config: TrainingConfig, dataset: Dataset, watcher: Watcher, resumable: Resumable | None
) -> TrainingResult:
    """Fit the parents with their own presets, and choose the weights of the sum on validation.

    Settings that the run was given (``epochs``, ``seed`` and so on) hold for every parent. After
    Ctrl-C what is trained is fused, the rest is left out.

    Raises:
        KeyboardInterrupt: Ctrl-C before the first deep parent had an epoch.
        BadInputError: The linear parent does not fit into memory; there is nothing to resume, or
            the state of any parent belongs to another run.
    """
    parts = _parts(config, dataset, resumable)
    _announce(watcher, LINEAR_PARENT, 1)
    linear = fit_linear(_settings(LINEAR_PARENT, config, dataset, {}), dataset, watcher, None)
    results: dict[str, TrainingResult] = {}
    for part in parts:
        _announce(watcher, part.name, part.settings.epochs)
        task = RankingTask(dataset.split)
        try:
            results[part.name] = train(part.settings, task, watcher, part.resumable)
        except KeyboardInterrupt:
            if not results:
                raise
            break
        if results[part.name].interrupted:
            break
    return _fused(linear, results, dataset, complete=len(results) == len(parts))


def _announce(watcher: Watcher, name: str, epochs: int) -> None:
    if isinstance(watcher, PartsWatcher):
        watcher.on_part(name, epochs)


def _parts(config: TrainingConfig, dataset: Dataset, resumable: Resumable | None) -> list[_Part]:
    """Plan the training of the deep parents; all states are checked before any is gone on with."""
    shape = TypeAdapter(HybridConfig).validate_python(config.architecture)
    settings = {
        name: _settings(parent.architecture, config, dataset, parent.config)
        for name, parent in zip(_names(shape), shape.parents, strict=True)
    }
    if resumable is None:
        return [_Part(name, each, None) for name, each in settings.items()]
    folder_of = {name: resumable.directory / f"{PART_PREFIX}{name}" for name in settings}
    has_state = dict.fromkeys(settings, False)
    if resumable.resume:
        has_state = {
            name: check_state(resumable.fingerprint, folder) for name, folder in folder_of.items()
        }
        if not any(has_state.values()):
            names = " or ".join(settings)
            raise BadInputError(
                f"nothing to resume: no state of {names} in {resumable.directory}; {ANEW}"
            )
    return [
        _Part(name, each, Resumable(folder_of[name], resumable.fingerprint, has_state[name]))
        for name, each in settings.items()
    ]


def _names(shape: HybridConfig) -> list[str]:
    """Name the parents by their architectures; the second of one and so on by number as well."""
    counted = Counter[str]()
    names = []
    for parent in shape.parents:
        counted[parent.architecture] += 1
        number = counted[parent.architecture]
        names.append(parent.architecture if number == 1 else f"{parent.architecture}-{number}")
    return names


def _settings(
    model: str, config: TrainingConfig, dataset: Dataset, architecture: dict[str, Any]
) -> TrainingConfig:
    inherited = config.model_fields_set & INHERITED - unread_by(model)
    said = {key: getattr(config, key) for key in inherited}
    return TrainingConfig.of(preset(model, dataset.split.train.nnz) | architecture | said)


def _fused(
    linear: TrainingResult,
    results: Mapping[str, TrainingResult],
    dataset: Dataset,
    *,
    complete: bool,
) -> TrainingResult:
    started = time.monotonic()
    parents = [result.model for result in results.values()]
    matrix = linear.model.linear
    assert matrix is not None  # noqa: S101 - a full-rank linear model has one
    fusion = choose_weights(parents, matrix, dataset.split.valid)
    model = Hybrid.of(parents, fusion.parent_weights, matrix, fusion.linear_weight)
    seconds = time.monotonic() - started + sum(each.seconds for each in (linear, *results.values()))
    return TrainingResult(
        model=model.freeze(),
        reports=(),
        best_epoch=0,
        interrupted=not complete or any(result.interrupted for result in results.values()),
        seconds=seconds,
        users_per_second=dataset.split.train.shape[0] / seconds,
        facts={
            "weights": dict(zip(results, fusion.parent_weights, strict=True))
            | {LINEAR_PARENT: fusion.linear_weight},
            "valid ndcg@100, fused": fusion.valid_ndcg,
            LINEAR_PARENT: dict(linear.facts),
            **{name: _summary(result) for name, result in results.items()},
        },
        parent_reports={name: result.reports for name, result in results.items()},
    )


def _summary(result: TrainingResult) -> dict[str, Any]:
    return {
        "best_epoch": result.best_epoch,
        "epochs": len(result.reports),
        "valid ndcg@100": max(report.valid["ndcg@100"] for report in result.reports),
        "seconds": result.seconds,
    }
