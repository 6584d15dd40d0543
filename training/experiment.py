"""One training run from data to bundle, and the record of it."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

from training.config import TrainingConfig
from training.data.datasets import Dataset
from training.distributed import World
from training.export import export, refuse_not_finite
from training.fitting import fit
from training.loop import Resumable, TrainingResult, Watcher
from training.measurement import Figures, measure, measure_rivals
from training.memory import peak_bytes
from training.output import held, named_faults
from training.posterior import posterior_record
from training.state import STATE_FILE, EpochReport, advice, forget_states, refuse_no_state


@final
@dataclass(frozen=True, slots=True)
class Experiment:
    """What ``foldin train`` tells when it is done.

    Attributes:
        config: The run.
        result: The trained model and its epochs.
        metrics: ``valid`` and ``test`` of the model, and what ``measure`` has beside.
        baselines: ``valid`` and ``test`` of each rival, by name.
        bundle: Where the checkpoint is.
        posterior: Of a variational model, what its dimensions say; else empty.
    """

    config: TrainingConfig
    result: TrainingResult
    metrics: Mapping[str, Figures]
    baselines: Mapping[str, Mapping[str, Figures]]
    bundle: Path
    posterior: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Give the record as ``--json`` writes it."""
        return {
            "model": self.config.model,
            "config": self.config.model_dump(mode="json"),
            "seed": self.config.seed,
            **{part: metrics.to_dict() for part, metrics in self.metrics.items()},
            "epochs": len(self.result.reports),
            "best_epoch": self.result.best_epoch,
            "interrupted": self.result.interrupted,
            **({"facts": dict(self.result.facts)} if self.result.facts else {}),
            **self.posterior,
            "seconds": self.result.seconds,
            "users_per_second": self.result.users_per_second,
            "curve": [asdict(report) for report in self.result.reports],
            **_parent_curves(self.result),
            "peak_memory_bytes": peak_bytes(),
            "checkpoint": str(self.bundle),
            "baselines": {
                name: {part: metrics.to_dict() for part, metrics in parts.items()}
                for name, parts in self.baselines.items()
            },
        }


def run_experiment(
    dataset: Dataset,
    config: TrainingConfig,
    model_dir: Path,
    watcher: Watcher,
    *,
    resume: bool,
    world: World | None = None,
) -> Experiment:
    """Train, measure beside the rivals, export the best weights.

    Args:
        dataset: Split and catalogue.
        config: The run.
        model_dir: Gets the bundle, and the state for ``resume``.
        watcher: Told of every step and epoch.
        resume: Go on where an interrupted run of the same data and config was.
        world: The processes that share the training, of which this is the first; the others
            ``take_part``. None: this one alone.

    Raises:
        BadInputError: The folder cannot be written to, another run has it, there is nothing to
            resume, or the processes have different data or settings, or some resume.
        TrainingDivergedError: The loss or the weights are no longer finite; nothing is exported.
    """
    with held(model_dir):
        result = _fitted(dataset, config, model_dir, watcher, world or World.alone(), resume=resume)
        refuse_not_finite(result.model, config.seed)
        metrics = measure(result.model, dataset)
        posterior = posterior_record(result.model, dataset.split.train)
        figures: dict[str, Any] = {part: measured.to_dict() for part, measured in metrics.items()}
        figures |= {"facts": dict(result.facts)} if result.facts else {}
        figures |= {"posterior": posterior} if posterior else {}
        # The bundle first: a run that is stopped while the rivals are measured has lost nothing.
        with named_faults(model_dir, advice(model_dir)):
            bundle = export(result.model, dataset, config, figures, model_dir)
        rivals = measure_rivals(dataset)
        if not result.interrupted:  # what is finished needs no resuming, and the state is large
            forget_states(model_dir)
    return Experiment(config, result, metrics, rivals, bundle, posterior)


def take_part(
    dataset: Dataset, config: TrainingConfig, model_dir: Path, world: World, *, resume: bool
) -> TrainingResult:
    """Train beside the first process, which alone measures, writes and tells.

    Args:
        dataset: The same as the first one's.
        config: The same as the first one's.
        model_dir: Of the first process; need not be there.
        world: All of them.
        resume: As the first one's.

    Raises:
        BadInputError: The processes have different data or settings, or some resume.
        ProcessLostError: Another process has ended.
    """
    return _fitted(dataset, config, model_dir, _Nobody(), world, resume=resume)


def _fitted(
    dataset: Dataset,
    config: TrainingConfig,
    model_dir: Path,
    watcher: Watcher,
    world: World,
    *,
    resume: bool,
) -> TrainingResult:
    fingerprint = _fingerprint(dataset, config)
    world.refuse_differences(fingerprint, "the data or the settings")
    # One that waits for a state which nobody sends would wait for ever.
    world.refuse_differences(f"{resume:x}", "the options (--resume)")
    if resume and world.is_first and world.size > 1:
        refuse_no_state(model_dir)  # before the others wait for a copy of it
    with world.copied(model_dir / STATE_FILE, wanted=resume) as folder:
        return fit(config, dataset, watcher, Resumable(folder, fingerprint, resume), world)


@final
class _Nobody:
    """Watches in silence: the first process tells of the run."""

    def on_step(self, users: float) -> None:
        """Say nothing."""

    def on_epoch(self, report: EpochReport, best_epoch: int) -> None:
        """Say nothing."""


def _parent_curves(result: TrainingResult) -> dict[str, Any]:
    curves = {
        name: [asdict(report) for report in reports]
        for name, reports in result.parent_reports.items()
    }
    return {"parent_curves": curves} if curves else {}


def _fingerprint(dataset: Dataset, config: TrainingConfig) -> str:
    return hashlib.sha256(config.to_json() + dataset.fingerprint.encode()).hexdigest()
