"""Fit every contender under its seeds, and keep what came of it."""

import gc
from collections.abc import Sequence
from typing import Final, Protocol, final

import numpy as np

from service.errors import FoldinError
from training.comparison.contender import Contender
from training.comparison.journal import Journal
from training.comparison.run import Run, failed_run, measured_run
from training.comparison.summary import summarize, summary_record
from training.data.datasets import Dataset
from training.loop import Watcher

# What one contender may die of while the others go on: refusals of our own, too little memory
# (torch raises RuntimeError), a matrix that is not positive definite.
ITS_OWN_FAULT: Final = (FoldinError, MemoryError, RuntimeError, np.linalg.LinAlgError)


class ComparisonWatcher(Watcher, Protocol):
    """Sees a comparison as it goes."""

    def on_start(self, contender: Contender, seed: int) -> None:
        """Hear that a fit begins."""

    def on_run(self, run: Run) -> None:
        """Hear what came of it."""


@final
class Plan:
    """Which fits a comparison is made of, and which of them are there already."""

    def __init__(self, contenders: Sequence[Contender], seeds: int, journal: Journal) -> None:
        self.contenders = contenders
        self.fits = [
            (contender, seed) for contender in contenders for seed in contender.seeds(seeds)
        ]
        self.missing = [fit for fit in self.fits if journal.find(*fit) is None]


def run_plan(plan: Plan, dataset: Dataset, journal: Journal, watcher: ComparisonWatcher) -> bool:
    """Make the runs that are missing; the journal is written after each.

    A contender that fails is a run with the reason. Ctrl-C ends the comparison; what is done stays.

    Returns:
        Whether it came to its end.
    """
    for contender, seed in plan.missing:
        watcher.on_start(contender, seed)
        gc.collect()  # what the fit before held is none of this one's memory
        try:
            run = measured_run(contender, seed, dataset, watcher)
        except ITS_OWN_FAULT as error:
            run = failed_run(contender, seed, _reason(error))
        except KeyboardInterrupt:
            return False
        journal.add(run)
        journal.write(summary_record(summarize(plan.contenders, journal)))
        watcher.on_run(run)
    return True


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
