"""Answers that the trainer stored in the bundle, for the service to repeat before it is ready.

A loaded model that folds in, scores or ranks other than it did at its trainer's is a failed
start and not a slow loss of quality.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, final

import numpy as np
import orjson
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from service.errors import CanaryMismatchError, CheckpointCorruptError
from service.histories import UNKNOWN_USER, History, HistoryBatch
from service.ranker import ModelRanker
from service.retrieval.base import TopK, Wanted

# Other kernels (CPU or GPU, other batch sizes) add in other orders: a few units in the last
# place of a float32 sum over some hundred terms, relative to the largest score.
RELATIVE_TOLERANCE = 1e-4
# Finite, and within what the arrays hold.
Float32 = Annotated[float, Field(ge=-3e38, le=3e38)]


@final
@dataclass(frozen=True, slots=True)
class Canary:
    """A history and the list that the trainer gave it, seen items hidden."""

    history: History
    user_index: int
    top: TopK


def record(
    ranker: ModelRanker,
    histories: Sequence[History],
    user_indices: Sequence[int],
) -> list[Canary]:
    """Ask the model for its answers, to be stored. k is 20."""
    tops = _answers(ranker, histories, user_indices)
    return [
        Canary(history, user_index, top)
        for history, user_index, top in zip(histories, user_indices, tops, strict=True)
    ]


def replay(ranker: ModelRanker, canaries: Sequence[Canary]) -> None:
    """Ask again, and compare.

    Raises:
        CanaryMismatchError: A score differs, or an item that no near tie explains.
    """
    histories = [canary.history for canary in canaries]
    user_indices = [canary.user_index for canary in canaries]
    tops = _answers(ranker, histories, user_indices)
    for number, (canary, top) in enumerate(zip(canaries, tops, strict=True)):
        if not _agree(canary.top, top):
            raise CanaryMismatchError(
                f"canary {number}: the trainer answered {_head(canary.top)}, "
                f"this model answers {_head(top)}"
            )


def to_json(canaries: Sequence[Canary]) -> bytes:
    """Write canaries as JSON."""
    rows = [
        {
            "history": canary.history.item_index_N,
            "weights": canary.history.weight_N,
            "user_index": canary.user_index,
            "items": canary.top.item_index_K,
            "scores": canary.top.score_K,
        }
        for canary in canaries
    ]
    return orjson.dumps(rows, option=orjson.OPT_SERIALIZE_NUMPY)


def from_json(content: bytes, num_items: int, num_users: int) -> list[Canary]:
    """Read what ``to_json`` wrote.

    Raises:
        CheckpointCorruptError: The content is not such a file, or names items or users that
            the model does not have.
    """
    try:
        rows = TypeAdapter(list[_Row]).validate_json(content)
        canaries = [row.canary() for row in rows]
    except (ValidationError, ValueError, OverflowError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointCorruptError(f"canaries.json cannot be read: {reason}") from error
    if not canaries:
        raise CheckpointCorruptError("canaries.json holds no canary")
    for canary in canaries:
        item_N = np.concatenate([canary.history.item_index_N, canary.top.item_index_K])
        in_range = bool(((item_N >= 0) & (item_N < num_items)).all())
        if not (in_range and UNKNOWN_USER <= canary.user_index < max(num_users, 1)):
            raise CheckpointCorruptError("canaries.json names an item or user out of range")
    return canaries


@final
class _Row(BaseModel):
    history: list[int]
    weights: list[Float32]
    user_index: int
    items: list[int]
    scores: list[Float32]

    def canary(self) -> Canary:
        top = TopK(np.array(self.items, dtype=np.int64), np.array(self.scores, dtype=np.float32))
        if len(top.item_index_K) != len(top.score_K) or len(self.history) != len(self.weights):
            raise ValueError("lists that belong together differ in length")
        return Canary(History.of(self.history, self.weights), self.user_index, top)


def _answers(
    ranker: ModelRanker, histories: Sequence[History], user_indices: Sequence[int]
) -> list[TopK]:
    if not histories:
        return []
    wanted = [Wanted(k=20, hidden_item_index=history.item_index_N) for history in histories]
    return ranker.top_k(HistoryBatch.from_rows(histories, user_indices), wanted)


def _head(top: TopK) -> str:
    pairs = zip(top.item_index_K[:3].tolist(), top.score_K[:3].tolist(), strict=True)
    return ", ".join(f"item {item} at {score:.4g}" for item, score in pairs) + ", ..."


def _agree(stored: TopK, found: TopK) -> bool:
    if len(stored.score_K) != len(found.score_K):
        return False
    if len(stored.score_K) == 0:
        return True
    tolerance = RELATIVE_TOLERANCE * max(1.0, float(np.abs(stored.score_K).max()))
    # Written so that a NaN on either side disagrees.
    gap_K = np.abs(stored.score_K - found.score_K)
    if not bool((gap_K <= tolerance).all()):
        return False
    # Where the items differ, only near-equal scores may have traded places.
    apart_K = np.abs(np.diff(stored.score_K)) > 2 * tolerance
    alone_K = np.r_[True, apart_K] & np.r_[apart_K, False]
    return bool((stored.item_index_K == found.item_index_K)[alone_K].all())
