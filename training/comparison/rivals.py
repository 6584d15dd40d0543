"""What is measured beside the models and cannot be served: a table of rivals."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, final

from training.baselines import Popularity
from training.comparison.contender import RatingPredictor
from training.data.datasets import Dataset
from training.errors import BadInputError
from training.evaluate import Ranker
from training.ials import ImplicitALSConfig, fit_ials
from training.neighbours import NeighboursConfig, fit_neighbours
from training.rating_baselines import measure_rating_baselines

Outcome = Ranker | RatingPredictor
Hear = Callable[[float], None]
# Takes the data, the settings, the seed and somebody to tell which share of the work comes next;
# gives what can be measured, and what was chosen on validation users.
FitRival = Callable[[Dataset, Any, int, Hear], tuple[Outcome, Mapping[str, Any]]]


@final
@dataclass(frozen=True, slots=True)
class NoConfig:
    """Of what has no settings."""


@final
@dataclass(frozen=True, slots=True)
class Rival:
    """A rival without its settings.

    Attributes:
        config: Class of its settings, a dataclass.
        fit: Fits it.
        has_chance: Whether seeds make a difference.
        reads_ratings: Whether it predicts ratings.
    """

    config: type[Any]
    fit: FitRival
    has_chance: bool = False
    reads_ratings: bool = False


def _popularity(
    dataset: Dataset, _config: NoConfig, _seed: int, _hear: Hear
) -> tuple[Outcome, Mapping[str, Any]]:
    return Popularity(dataset.split.train), {}


def _neighbours(
    dataset: Dataset, config: NeighboursConfig, _seed: int, hear: Hear
) -> tuple[Outcome, Mapping[str, Any]]:
    ranker, chosen = fit_neighbours(dataset.split, config, hear)
    return ranker, asdict(chosen)


def _ials(
    dataset: Dataset, config: ImplicitALSConfig, seed: int, hear: Hear
) -> tuple[Outcome, Mapping[str, Any]]:
    ranker, penalty = fit_ials(dataset.split, config, seed, hear)
    return ranker, asdict(penalty)


def _mean(
    dataset: Dataset, _config: NoConfig, _seed: int, _hear: Hear
) -> tuple[Outcome, Mapping[str, Any]]:
    predictor, _ = _rating_baseline(dataset, is_mean=True)
    return predictor, {}


def _biases(
    dataset: Dataset, _config: NoConfig, _seed: int, _hear: Hear
) -> tuple[Outcome, Mapping[str, Any]]:
    predictor, name = _rating_baseline(dataset, is_mean=False)
    return predictor, {"chosen": name}


def _rating_baseline(dataset: Dataset, *, is_mean: bool) -> tuple[RatingPredictor, str]:
    if dataset.ratings is None:
        raise BadInputError(f"{dataset.name} is split by likes: there are no ratings to predict")
    measured = measure_rating_baselines(dataset.split, dataset.ratings)
    name = next(name for name in measured if (name == "mean") == is_mean)
    return RatingPredictor(lambda: measured[name]), name


RIVALS: Final[Mapping[str, Rival]] = {
    "popularity": Rival(NoConfig, _popularity),
    "item-knn": Rival(NeighboursConfig, _neighbours),
    "ials": Rival(ImplicitALSConfig, _ials, has_chance=True),
    "mean": Rival(NoConfig, _mean, reads_ratings=True),
    "biases": Rival(NoConfig, _biases, reads_ratings=True),
}
