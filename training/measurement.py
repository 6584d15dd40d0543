"""The figures that a run tells: of the model and of its rivals, by what the model learns from."""

from collections.abc import Mapping
from typing import Protocol

from service.autoencoders.base import Autoencoder
from service.ranker import ModelRanker
from training.baselines import measure_baselines
from training.data.datasets import Dataset
from training.evaluate import evaluate
from training.rating_baselines import measure_rating_baselines
from training.rating_metrics import measure_ratings


class Figures(Protocol):
    """Averages over what was held out: of lists, or of predicted ratings."""

    def to_dict(self) -> dict[str, float]:
        """Flatten for JSON."""


def measure(model: Autoencoder, dataset: Dataset) -> Mapping[str, Figures]:
    """Give the figures of a model by part: ``valid``, ``test``, and what there is beside."""
    split = dataset.split
    if dataset.ratings is not None:
        return measure_ratings(model, split, dataset.ratings)
    ranker = ModelRanker(model)
    return {"valid": evaluate(ranker, split.valid), "test": evaluate(ranker, split.test)}


def measure_rivals(dataset: Dataset) -> Mapping[str, Mapping[str, Figures]]:
    """Give the figures of the rivals by name and part."""
    if dataset.ratings is not None:
        return measure_rating_baselines(dataset.split, dataset.ratings)
    return measure_baselines(dataset.split)
