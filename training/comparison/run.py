"""One fit of one contender, measured: the record of it, and how it is made."""

import time
from collections.abc import Mapping
from typing import Any, final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from training.beyond import beyond_accuracy
from training.comparison.contender import Contender, Fitted, RatingPredictor
from training.data.datasets import Dataset
from training.data.split import Split
from training.evaluate import Ranker, evaluate, metrics_by_history_length, ranked_lists
from training.loop import Watcher
from training.memory import forget_peak, peak_bytes
from training.state import EpochReport

Figures = dict[str, int | float]


@final
class Run(BaseModel):
    """What is kept of a fit. Frozen; written into the file of the comparison."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    """Name of the contender."""

    seed: int
    """What it was fitted under."""

    config: dict[str, Any]
    """All its settings, without the seed."""

    settings: dict[str, Any]
    """Those of them that were said, not preset."""

    failed: str | None = None
    """Why there are no figures; None: there are."""

    valid: Figures = Field(default_factory=dict)
    """Metrics of validation users, which chose the epoch and the settings."""

    test: Figures = Field(default_factory=dict)
    """Metrics of test users."""

    test_by_history: dict[str, Figures] = Field(default_factory=dict)
    """Metrics of test users by the length of their histories."""

    beyond: Figures = Field(default_factory=dict)
    """Coverage, Gini and novelty of the test users' lists."""

    epochs: int = 0
    """How many were run; 0 without epochs."""

    best_epoch: int = 0
    """The one that was kept."""

    seconds: float = 0
    """Of the fit, choices made on validation users included."""

    users_per_second: float = 0
    """Of the training steps; of the whole fit where there are none."""

    score_seconds: float = 0
    """Of ranking the catalogue for all test users."""

    peak_memory_bytes: int = 0
    """The most that the process held while it fitted and ranked."""

    peak_is_of_run: bool = True
    """Whether the peak is this run's; else that of the whole process so far."""

    checkpoint: None = None
    """A comparison keeps no weights."""

    facts: dict[str, Any] = Field(default_factory=dict)
    """What validation chose, and the like."""

    curve: tuple[EpochReport, ...] = ()
    """Every epoch."""

    parent_curves: dict[str, tuple[EpochReport, ...]] = Field(default_factory=dict)
    """Of a model made of several, every epoch of each by its name."""

    def repeats(self, contender: Contender, seed: int) -> bool:
        """Tell whether fitting a contender under a seed would give this run again."""
        return (self.seed, *self.identity) == (seed, *identity(contender))

    def curves(self) -> dict[str, tuple[EpochReport, ...]]:
        """Give every curve that there is under a name to draw it by: its own, or the parents'."""
        own = {self.model: self.curve} if self.curve else {}
        return own | {f"{self.model}: {name}": curve for name, curve in self.parent_curves.items()}

    @property
    def identity(self) -> tuple[str, Mapping[str, Any], Mapping[str, Any]]:
        """What was fitted, whatever the seed."""
        return self.model, self.config, self.settings


def identity(contender: Contender) -> tuple[str, Mapping[str, Any], Mapping[str, Any]]:
    """Tell a contender as ``Run.identity`` tells it."""
    return contender.name, contender.config, contender.settings


def failed_run(contender: Contender, seed: int, reason: str) -> Run:
    """Record a fit that could not be."""
    name, config, settings = identity(contender)
    return Run(model=name, seed=seed, config=dict(config), settings=dict(settings), failed=reason)


def measured_run(contender: Contender, seed: int, dataset: Dataset, watcher: Watcher) -> Run:
    """Fit a contender under a seed and measure it.

    Raises:
        KeyboardInterrupt: Ctrl-C, whether or not the fit had come to something.
    """
    peak_is_of_run = forget_peak()
    fitted = contender.fit(dataset, seed, watcher)
    if fitted.interrupted:
        raise KeyboardInterrupt
    name, config, settings = identity(contender)
    return Run(
        model=name,
        seed=seed,
        config=dict(config),
        settings=dict(settings),
        epochs=len(fitted.reports),
        best_epoch=fitted.best_epoch,
        seconds=fitted.seconds,
        users_per_second=_users_per_second(fitted, dataset.split.train.shape[0]),
        facts=dict(fitted.facts),
        curve=fitted.reports,
        parent_curves=dict(fitted.parent_reports),
        **_figures(fitted.outcome, dataset.split),
        peak_memory_bytes=peak_bytes(),  # after the lists were made
        peak_is_of_run=peak_is_of_run,
    )


def _figures(outcome: Ranker | RatingPredictor, split: Split) -> dict[str, Any]:
    if isinstance(outcome, RatingPredictor):
        return _of_ratings(outcome)
    valid = evaluate(outcome, split.valid).to_dict()
    started = time.monotonic()
    lists = ranked_lists(outcome, split.test)
    score_seconds = time.monotonic() - started
    test = metrics_by_history_length(lists, split.test)
    asked = np.flatnonzero(np.diff(split.test.target.indptr))
    return {
        "valid": valid,
        "test": test.pop("all").to_dict(),
        "test_by_history": {band: metrics.to_dict() for band, metrics in test.items()},
        "beyond": beyond_accuracy([lists[user] for user in asked], split.train),
        "score_seconds": score_seconds,
    }


def _of_ratings(predictor: RatingPredictor) -> dict[str, Any]:
    started = time.monotonic()
    measured = predictor.measure()
    score_seconds = time.monotonic() - started
    # A model with rows for users answers once with these and once with histories folded in.
    beside = {
        f"{figure}_{part.removeprefix('test_')}": value
        for part, metrics in measured.items()
        if part.startswith("test_")
        for figure, value in metrics.to_dict().items()
    }
    return {
        "valid": measured["valid"].to_dict(),
        "test": measured["test"].to_dict() | beside,
        "score_seconds": score_seconds,
    }


def _users_per_second(fitted: Fitted, num_users: int) -> float:
    if not fitted.reports:
        return num_users / max(fitted.seconds, 1e-6)
    train_s = sum(report.train_s for report in fitted.reports)
    return num_users * len(fitted.reports) / max(train_s, 1e-6)
