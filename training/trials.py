"""One run of a search: trained as ``foldin train`` would, and stopped where it falls behind."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

from optuna.trial import TrialState

from service.ranker import ModelRanker
from training.config import TrainingConfig
from training.data.datasets import Dataset
from training.errors import TrainingDivergedError
from training.evaluate import evaluate
from training.fitting import fit
from training.loop import TrainingResult, Watcher
from training.state import EpochReport

# Told of an epoch and its value; whether the run falls behind.
FallsBehind = Callable[[int, float], bool]


class PrunedError(Exception):
    """The run fell behind; raised by ``Curve``, caught by ``run_trial``."""


@final
@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended.

    Attributes:
        state: ``COMPLETE``, ``PRUNED`` or ``FAIL`` (the loss was not finite).
        value: Of the best epoch, or of the last one of a pruned run; None if it failed.
        curve: Values by epoch; none for a model that has no epochs.
        facts: Seconds, epochs, the reason of a failure.
        result: The model, if the run was complete.
    """

    state: TrialState
    value: float | None
    curve: Mapping[int, float]
    facts: Mapping[str, Any]
    result: TrainingResult | None = None


@final
class Curve:
    """A watcher that keeps the value of every epoch and ends a run that falls behind."""

    def __init__(self, watcher: Watcher, metric: str, falls_behind: FallsBehind) -> None:
        self.values: dict[int, float] = {}
        self._watcher = watcher
        self._metric = metric
        self._falls_behind = falls_behind

    def on_step(self, users: float) -> None:
        """Pass it on."""
        self._watcher.on_step(users)

    def on_epoch(self, report: EpochReport, best_epoch: int) -> None:
        """Pass it on, keep the value.

        Raises:
            PrunedError: The run falls behind.
        """
        self._watcher.on_epoch(report, best_epoch)
        value = report.valid[self._metric]
        # A hybrid trains several models: epochs come again, and those of the last one stay.
        self.values[report.epoch] = value
        if self._falls_behind(report.epoch, value):
            raise PrunedError


def run_trial(
    config: TrainingConfig, dataset: Dataset, metric: str, watcher: Watcher, prune: FallsBehind
) -> Ended:
    """Train and measure on validation users.

    Raises:
        KeyboardInterrupt: Ctrl-C: a run that was cut short says nothing of its settings.
    """
    curve = Curve(watcher, metric, prune)
    started_s = time.monotonic()

    def facts(**more: Any) -> dict[str, Any]:  # noqa: ANN401 - each fact is of its own kind
        return {"seconds": time.monotonic() - started_s, "epochs": len(curve.values), **more}

    try:
        result = fit(config, dataset, curve)
    except TrainingDivergedError as error:
        return Ended(TrialState.FAIL, None, curve.values, facts(reason=str(error)))
    except PrunedError:
        last = list(curve.values.values())[-1]
        return Ended(TrialState.PRUNED, last, curve.values, facts())
    if result.interrupted:
        raise KeyboardInterrupt
    value = _value(result, metric, dataset)
    best = facts(best_epoch=result.best_epoch)
    return Ended(TrialState.COMPLETE, value, curve.values, best, result)


def _value(result: TrainingResult, metric: str, dataset: Dataset) -> float:
    if result.reports:
        return result.reports[result.best_epoch - 1].valid[metric]
    return evaluate(ModelRanker(result.model), dataset.split.valid).values[metric]
