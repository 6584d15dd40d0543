"""What a run learns from, and which of its epochs is the best."""

import math
from collections.abc import Mapping
from typing import Final, Protocol, final

from scipy.sparse import csr_array

from service.autoencoders.base import Autoencoder
from service.ranker import ModelRanker
from training.data.split import Split
from training.distributed import World
from training.evaluate import PlainRetriever, evaluate, part_of
from training.metrics import RankingMetrics, pooled

# 50,000 users of 40,000 items, half a minute of two cores at 600 units.
MAX_VALID_SCORES: Final = 2_000_000_000


class Task(Protocol):
    """The training rows and the measure of one kind of learning."""

    @property
    def rows(self) -> csr_array:
        """float32 [U, I]: one training example a row."""

    def measure(self, model: Autoencoder) -> dict[str, float]:
        """Give the validation figures of a model as it is now; the same to all processes."""

    def merit(self, valid: Mapping[str, float]) -> float:
        """Boil validation figures down to one number; the epoch with the greatest is kept."""


@final
class RankingTask:
    """Reconstruct the histories of training users; rank for the held-out ones of these.

    Of very many held-out users over very many items every so many are asked, those that one
    process would ask: an epoch's choice takes ``MAX_VALID_SCORES`` scores at most.
    """

    def __init__(self, split: Split, world: World | None = None) -> None:
        self._rows = split.train
        self._world = world or World.alone()
        num_users, num_items = split.valid.history.shape
        shard = self._world.shard(num_users)
        every = max(1, math.ceil(num_users * num_items / MAX_VALID_SCORES))
        first = math.ceil(shard.start / every) * every
        self._valid = part_of(split.valid, slice(first, shard.stop, every))

    @property
    def rows(self) -> csr_array:
        """float32 [U, I]: the training users' histories."""
        return self._rows

    def measure(self, model: Autoencoder) -> dict[str, float]:
        """Rank for the validation users, each process for its own; all get the same figures."""
        own = evaluate(ModelRanker(model, PlainRetriever(model)), self._valid).to_dict()
        shards = self._world.gathered_by_name(own)
        return pooled([RankingMetrics.of(each) for each in shards]).to_dict()

    def merit(self, valid: Mapping[str, float]) -> float:
        """Give NDCG@100, as Liang et al. (2018) select."""
        return valid["ndcg@100"]
