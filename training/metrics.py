"""Ranking metrics as Liang et al. (2018) define them, averaged over users with a target.

Both cut the ideal at ``min(K, targets)``: a user with two targets can reach 1. ``recall_all@20``
divides by all targets instead, as the papers after LightGCN (2020) do on their fixed splits.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self, final

import numpy as np
from numpy.typing import NDArray

LIST_LENGTH: Final = 100


@final
@dataclass(frozen=True, slots=True)
class RankingMetrics:
    """Averages over the users that have a target.

    Attributes:
        values: By name, such as ``ndcg@100``.
        users: How many users the averages are over.
        users_without_target: Held-out users that were left out.
        standard_error: Of ``ndcg@100``.
    """

    values: dict[str, float]
    users: int
    users_without_target: int
    standard_error: float

    @property
    def ndcg_at_100(self) -> float:
        """The figure that selects models."""
        return self.values["ndcg@100"]

    @property
    def variance(self) -> float:
        """Of ``ndcg@100`` from user to user."""
        return self.users * self.standard_error**2

    @classmethod
    def of(cls, flat: Mapping[str, float]) -> Self:
        """Read what ``to_dict`` gives."""
        values = dict(flat)
        return cls(
            users=int(values.pop("users")),
            users_without_target=int(values.pop("users_without_target")),
            standard_error=values.pop("ndcg@100_standard_error"),
            values=values,
        )

    def to_dict(self) -> dict[str, float]:
        """Flatten for JSON."""
        counts = {"users": self.users, "users_without_target": self.users_without_target}
        return {**self.values, "ndcg@100_standard_error": self.standard_error, **counts}


def ranking_metrics(
    lists: Sequence[NDArray[np.int64]], targets: Sequence[NDArray[np.integer]]
) -> RankingMetrics:
    """Score ranked lists against what each user really took.

    Args:
        lists: Item indices, best first, at least 100 long where there are as many eligible.
        targets: Item indices per user; users with none are left out and counted.
    """
    measured = [
        (found, wanted) for found, wanted in zip(lists, targets, strict=True) if len(wanted)
    ]
    num_targets_U = np.array([len(wanted) for _, wanted in measured], dtype=np.int64)
    hits_UK = np.zeros((len(measured), LIST_LENGTH), dtype=bool)
    for row, (found, wanted) in enumerate(measured):
        head = found[:LIST_LENGTH]
        hits_UK[row, : len(head)] = np.isin(head, wanted)
    ndcg_U = ndcg(hits_UK, num_targets_U, 100)
    return RankingMetrics(
        values={
            "recall@20": _mean(recall(hits_UK, num_targets_U, 20)),
            "recall@50": _mean(recall(hits_UK, num_targets_U, 50)),
            "recall_all@20": _mean(hits_UK[:, :20].sum(axis=1) / num_targets_U),
            "ndcg@10": _mean(ndcg(hits_UK, num_targets_U, 10)),
            "ndcg@20": _mean(ndcg(hits_UK, num_targets_U, 20)),
            "ndcg@100": _mean(ndcg_U),
        },
        users=len(measured),
        users_without_target=len(lists) - len(measured),
        standard_error=float(ndcg_U.std() / np.sqrt(len(ndcg_U))) if len(ndcg_U) else 0.0,
    )


def pooled(shards: Sequence[RankingMetrics]) -> RankingMetrics:
    """Give the metrics over the users of all shards, to rounding in float64."""
    if len(shards) == 1:
        return shards[0]
    users = sum(shard.users for shard in shards)
    values = {
        name: sum(shard.values[name] * shard.users for shard in shards) / max(users, 1)
        for name in shards[0].values
    }
    # The spread of the shards about their means, and of their means about the common one.
    squares = sum(
        shard.users * (shard.variance + (shard.ndcg_at_100 - values["ndcg@100"]) ** 2)
        for shard in shards
    )
    return RankingMetrics(
        values=values,
        users=users,
        users_without_target=sum(shard.users_without_target for shard in shards),
        standard_error=math.sqrt(squares) / max(users, 1),
    )


def recall(
    hits_UK: NDArray[np.bool_], num_targets_U: NDArray[np.int64], k: int
) -> NDArray[np.float64]:
    """Recall@k = hits among the first k / min(k, targets), per user."""
    share_U: NDArray[np.float64] = hits_UK[:, :k].sum(axis=1) / np.minimum(k, num_targets_U)
    return share_U


def ndcg(
    hits_UK: NDArray[np.bool_], num_targets_U: NDArray[np.int64], k: int
) -> NDArray[np.float64]:
    """NDCG@k with gain 1, discount 1 / log2(rank + 1), ideal cut at min(k, targets), per user."""
    discount_K = 1 / np.log2(np.arange(2, k + 2))
    ideal_U = np.cumsum(discount_K)[np.minimum(k, num_targets_U) - 1]
    gain_U: NDArray[np.float64] = hits_UK[:, :k] @ discount_K[: hits_UK[:, :k].shape[1]] / ideal_U
    return gain_U


def _mean(value_U: NDArray[np.float64]) -> float:
    return float(value_U.mean()) if len(value_U) else 0.0
