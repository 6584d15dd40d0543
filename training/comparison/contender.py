"""What a comparison pits against each other: anything that can be fitted and then be measured."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, final

from training.data.datasets import Dataset
from training.evaluate import Ranker
from training.loop import Watcher
from training.measurement import Figures
from training.state import EpochReport


@final
@dataclass(frozen=True, slots=True)
class RatingPredictor:
    """What predicts ratings, and no lists.

    Attributes:
        measure: Gives ``valid`` and ``test`` figures, and what there is beside.
    """

    measure: Callable[[], Mapping[str, Figures]]


@final
@dataclass(frozen=True, slots=True)
class Fitted:
    """What became of a contender under one seed.

    Attributes:
        outcome: Ready to be measured.
        seconds: Of the fit, choices made on validation users included.
        facts: What validation chose, and the like.
        reports: One per epoch, where there are epochs.
        best_epoch: The one whose weights the outcome has.
        interrupted: Whether Ctrl-C ended the fit early: such a fit is not compared.
        parent_reports: Of a model made of several that have epochs, the reports of each by name.
    """

    outcome: Ranker | RatingPredictor
    seconds: float
    facts: Mapping[str, Any] = field(default_factory=dict)
    reports: tuple[EpochReport, ...] = ()
    best_epoch: int = 0
    interrupted: bool = False
    parent_reports: Mapping[str, tuple[EpochReport, ...]] = field(default_factory=dict)


@final
@dataclass(frozen=True, slots=True)
class Contender:
    """A model or a rival with its settings.

    Attributes:
        name: As ``--models`` has it.
        config: All settings, without the seed.
        settings: Those of them that were said for this comparison.
        has_chance: Whether seeds make a difference; one fit is enough otherwise.
        reads_ratings: Whether it learns to predict ratings, and not to rank.
        fit: Fits it on the training users, under a seed.
    """

    name: str
    config: Mapping[str, Any]
    settings: Mapping[str, Any]
    has_chance: bool
    reads_ratings: bool
    fit: Callable[[Dataset, int, Watcher], Fitted]

    def seeds(self, count: int) -> range:
        """Give the seeds to fit it under."""
        return range(count if self.has_chance else 1)
