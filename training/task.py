"""What a run learns from, and which of its epochs is the best."""

from collections.abc import Mapping
from typing import Protocol, final

from scipy.sparse import csr_array

from service.autoencoders.base import Autoencoder
from service.ranker import ModelRanker
from training.data.split import Split
from training.evaluate import PlainRetriever, evaluate


class Task(Protocol):
    """The training rows and the measure of one kind of learning."""

    @property
    def rows(self) -> csr_array:
        """float32 [U, I]: one training example a row."""

    def measure(self, model: Autoencoder) -> dict[str, float]:
        """Give the validation figures of a model as it is now."""

    def merit(self, valid: Mapping[str, float]) -> float:
        """Boil validation figures down to one number; the epoch with the greatest is kept."""


@final
class RankingTask:
    """Reconstruct the histories of training users; rank for the held-out ones."""

    def __init__(self, split: Split) -> None:
        self._split = split

    @property
    def rows(self) -> csr_array:
        """float32 [U, I]: the training users' histories."""
        return self._split.train

    def measure(self, model: Autoencoder) -> dict[str, float]:
        """Rank for the validation users."""
        ranker = ModelRanker(model, PlainRetriever(model))
        return evaluate(ranker, self._split.valid).to_dict()

    def merit(self, valid: Mapping[str, float]) -> float:
        """Give NDCG@100, as Liang et al. (2018) select."""
        return valid["ndcg@100"]
