"""Fits a hybrid: its linear parent, its deep parents one after the other, and their weights."""

import shutil
import time
from collections.abc import Sequence
from typing import Any, Final

from pydantic import TypeAdapter

from service.autoencoders.hybrid import Hybrid, HybridConfig
from training.config import TrainingConfig
from training.data.datasets import Dataset
from training.fusion import choose_weights
from training.linear import fit_linear
from training.loop import Resumable, TrainingResult, Watcher, train
from training.presets import preset
from training.state import STATE_FILE
from training.task import RankingTask

LINEAR_PARENT: Final = "edlae"
# What a run passes on to those of its parents, where it was said.
INHERITED: Final = frozenset(TrainingConfig.model_fields) - {"model", "architecture", "loss"}


def fit_hybrid(
    config: TrainingConfig, dataset: Dataset, watcher: Watcher, resumable: Resumable | None
) -> TrainingResult:
    """Fit the parents with their own presets, and choose the weights of the sum on validation.

    Settings that the run was given (``epochs``, ``seed`` and so on) hold for every parent. After
    Ctrl-C what is trained is fused, the rest is left out.

    Raises:
        KeyboardInterrupt: Ctrl-C before the first deep parent had an epoch.
        BadInputError: The linear parent does not fit into memory.
    """
    shape = TypeAdapter(HybridConfig).validate_python(config.architecture)
    linear = fit_linear(_settings(LINEAR_PARENT, config, dataset, {}), dataset, watcher, None)
    results: list[TrainingResult] = []
    for parent in shape.parents:
        settings = _settings(parent.architecture, config, dataset, parent.config)
        where = resumable and _below(resumable, parent.architecture)
        try:
            results.append(train(settings, RankingTask(dataset.split), watcher, where))
        except KeyboardInterrupt:
            if not results:
                raise
            break
        if results[-1].interrupted:
            break
    else:
        _forget_states(shape, resumable)
    return _fused(linear, results, dataset, complete=len(results) == len(shape.parents))


def _settings(
    model: str, config: TrainingConfig, dataset: Dataset, architecture: dict[str, Any]
) -> TrainingConfig:
    said = {key: getattr(config, key) for key in config.model_fields_set & INHERITED}
    return TrainingConfig.of(preset(model, dataset.split.train.nnz) | architecture | said)


def _below(resumable: Resumable, parent: str) -> Resumable:
    """Give a parent a folder of its own for its state; one that has none yet starts afresh."""
    directory = resumable.directory / f".hybrid-{parent}"
    has_state = (directory / STATE_FILE).is_file()
    return Resumable(directory, resumable.fingerprint, resumable.resume and has_state)


def _forget_states(shape: HybridConfig, resumable: Resumable | None) -> None:
    """Remove what is of use to an interrupted run only: the states are large."""
    if resumable is not None:
        for parent in shape.parents:
            shutil.rmtree(_below(resumable, parent.architecture).directory, ignore_errors=True)


def _fused(
    linear: TrainingResult, results: Sequence[TrainingResult], dataset: Dataset, *, complete: bool
) -> TrainingResult:
    started = time.monotonic()
    parents = [result.model for result in results]
    matrix = linear.model.linear
    assert matrix is not None  # noqa: S101 - a full-rank linear model has one
    fusion = choose_weights(parents, matrix, dataset.split.valid)
    model = Hybrid.of(parents, fusion.parent_weights, matrix, fusion.linear_weight)
    seconds = time.monotonic() - started + sum(each.seconds for each in (linear, *results))
    names = [parent.architecture for parent in model.config.parents]
    return TrainingResult(
        model=model.freeze(),
        reports=(),
        best_epoch=0,
        interrupted=not complete or results[-1].interrupted,
        seconds=seconds,
        users_per_second=dataset.split.train.shape[0] / seconds,
        facts={
            "weights": dict(zip(names, fusion.parent_weights, strict=True))
            | {LINEAR_PARENT: fusion.linear_weight},
            "valid ndcg@100, fused": fusion.valid_ndcg,
            LINEAR_PARENT: dict(linear.facts),
            **{name: _summary(result) for name, result in zip(names, results, strict=True)},
        },
    )


def _summary(result: TrainingResult) -> dict[str, Any]:
    return {
        "best_epoch": result.best_epoch,
        "epochs": len(result.reports),
        "valid ndcg@100": max(report.valid["ndcg@100"] for report in result.reports),
        "seconds": result.seconds,
    }
