"""The one builder of model input: histories as CSR rows, in training as in serving."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, final

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from service.device import to_device

UNKNOWN_USER = -1
# Weights of entries, where they are posted or read: their squares, and sums of those, stay well
# inside float32.
MIN_WEIGHT = 1e-6
MAX_WEIGHT = 1e6
# Keeps the norm of an empty history from dividing by zero; far below that of any entry.
NORM_EPSILON = np.float32(1e-12)


@final
@dataclass(frozen=True, slots=True)
class History:
    """One user's entries, sorted by item, each item once. Made by ``of``.

    Attributes:
        item_index_N: int64.
        weight_N: float32, one an entry; 1 for plain implicit feedback, the rating for a model that
            reads ratings.
    """

    item_index_N: NDArray[np.int64]
    weight_N: NDArray[np.float32]

    @classmethod
    def of(cls, item_indices: ArrayLike, weights: ArrayLike | None = None) -> Self:
        """Sort and merge entries in any order; of an item posted twice the larger weight counts.

        Raises:
            ValueError: There are more items than weights, or fewer.
        """
        item_N = np.array(item_indices, dtype=np.int64)  # a copy: it is sorted in place
        if weights is None:
            item_N.sort()
            unique_N = item_N[_first_of_each(item_N)] if _has_twins(item_N) else item_N
            return cls(unique_N, np.ones(len(unique_N), dtype=np.float32))
        weight_N = np.asarray(weights, dtype=np.float32)
        if weight_N.shape != item_N.shape:
            raise ValueError(f"{len(item_N)} items, {len(weight_N)} weights")
        order_N = item_N.argsort()
        item_N, weight_N = item_N[order_N], weight_N[order_N]
        if _has_twins(item_N):
            start_N = _first_of_each(item_N).nonzero()[0]
            return cls(item_N[start_N], np.maximum.reduceat(weight_N, start_N))
        return cls(item_N, weight_N)

    def __len__(self) -> int:
        return len(self.item_index_N)

    @property
    def unit_weight_N(self) -> NDArray[np.float32]:
        """The weights at an L2 norm of 1; of an empty history none."""
        norm = np.sqrt(np.square(self.weight_N).sum(dtype=np.float32)) + NORM_EPSILON
        unit_weight_N: NDArray[np.float32] = self.weight_N / norm
        return unit_weight_N


@final
@dataclass(frozen=True, slots=True)
class HistoryBatch:
    """B histories with N entries in all, row after row.

    Entries of a row are sorted by item and unique, so that the order in which a caller posts
    them cannot change a bit of the answer.

    Attributes:
        item_index_N: int64, the items of row 0, then those of row 1, and so on.
        weight_N: float32, one weight an entry; 1 for plain implicit feedback, the rating for a
            model that reads ratings.
        offset_B1: int64, B + 1 positions; row b is ``[offset_B1[b], offset_B1[b + 1])``.
        user_index_B: int64, the training row of each user, ``UNKNOWN_USER`` for all others.
        unit_weight_N: float32, the weights with each row at an L2 norm of 1, where they are known:
            a history brings them along, and a served batch has fewer calls of torch to wait for.
    """

    item_index_N: Tensor
    weight_N: Tensor
    offset_B1: Tensor
    user_index_B: Tensor
    unit_weight_N: Tensor | None = None

    @classmethod
    def from_rows(
        cls,
        rows: Sequence[History],
        user_indices: Sequence[int] | None = None,
    ) -> Self:
        """Build a batch of histories, each in any order."""
        users = [UNKNOWN_USER] * len(rows) if user_indices is None else list(user_indices)
        return cls(
            item_index_N=torch.from_numpy(_concatenated([row.item_index_N for row in rows], "i8")),
            weight_N=torch.from_numpy(_concatenated([row.weight_N for row in rows], "f4")),
            offset_B1=torch.from_numpy(np.cumsum([0, *(len(row) for row in rows)], dtype=np.int64)),
            user_index_B=torch.tensor(users, dtype=torch.int64),
            unit_weight_N=torch.from_numpy(
                _concatenated([row.unit_weight_N for row in rows], "f4")
            ),
        )

    @classmethod
    def from_csr(
        cls,
        indptr: NDArray[np.integer],
        indices: NDArray[np.integer],
        weights: NDArray[np.floating],
        user_index_B: NDArray[np.int64],
    ) -> Self:
        """Wrap the arrays of a canonical CSR matrix (rows sorted and unique) of B rows."""
        return cls(
            item_index_N=torch.from_numpy(indices.astype(np.int64)),
            weight_N=torch.from_numpy(weights.astype(np.float32)),
            offset_B1=torch.from_numpy(indptr.astype(np.int64)),
            user_index_B=torch.from_numpy(user_index_B.astype(np.int64)),
        )

    def __len__(self) -> int:
        return len(self.user_index_B)

    @property
    def length_B(self) -> Tensor:
        """Entries of each row, int64."""
        return self.offset_B1.diff()

    @property
    def row_N(self) -> Tensor:
        """The row that each entry belongs to, int64."""
        rows = torch.arange(len(self), device=self.offset_B1.device)
        return torch.repeat_interleave(rows, self.length_B, output_size=len(self.item_index_N))

    def sum_per_row(self, value_N: Tensor) -> Tensor:
        """Add the values of each row's entries up, [N] -> [B]."""
        return torch.segment_reduce(value_N, "sum", offsets=self.offset_B1)

    def per_entry(self, value_B: Tensor) -> Tensor:
        """Give each entry the value of its row, [B] -> [N]."""
        return value_B.repeat_interleave(self.length_B, output_size=len(self.item_index_N))

    def with_weights(self, weight_N: Tensor) -> Self:
        """Give the same entries other weights."""
        return type(self)(self.item_index_N, weight_N, self.offset_B1, self.user_index_B)

    def to(self, device: torch.device) -> Self:
        """Move to a device; a batch that is there already stays as it is."""
        if self.item_index_N.device == device:
            return self
        return type(self)(
            to_device(self.item_index_N, device),
            to_device(self.weight_N, device),
            to_device(self.offset_B1, device),
            to_device(self.user_index_B, device),
            None if self.unit_weight_N is None else to_device(self.unit_weight_N, device),
        )


def _has_twins(sorted_N: NDArray[np.int64]) -> bool:
    return bool(np.count_nonzero(sorted_N[1:] == sorted_N[:-1]))


def _first_of_each(sorted_N: NDArray[np.int64]) -> NDArray[np.bool_]:
    return np.concatenate([[True], sorted_N[1:] != sorted_N[:-1]])


def _concatenated(parts: Sequence[NDArray[Any]], dtype: str) -> NDArray[Any]:
    return np.concatenate([np.empty(0, dtype=dtype), *parts])
