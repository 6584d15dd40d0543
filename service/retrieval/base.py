"""What a retriever answers, and the seam that all retrievers share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from service.histories import HistoryBatch


@final
@dataclass(frozen=True, slots=True)
class Wanted:
    """What one row of a batch asks of the retriever.

    Attributes:
        k: How many items, at least 1; more than there are is fine.
        hidden_item_index: int64; items that may not come back (seen, excluded), in any order.
        shown_I: The items that may come back at all, as a filter has them; None: all. Read-only,
            and as a rule shared by many rows.
    """

    k: int
    hidden_item_index: NDArray[np.int64]
    shown_I: NDArray[np.bool_] | None = None

    def hidden(self) -> NDArray[np.int64]:
        """List all items that may not come back, each once, in order."""
        hidden_N = np.unique(self.hidden_item_index)
        if self.shown_I is None:
            return hidden_N
        return np.union1d(hidden_N, np.flatnonzero(~self.shown_I))


@final
@dataclass(frozen=True, slots=True)
class TopK:
    """The best items of one row, best first; equal scores in the order of their index.

    Attributes:
        item_index_K: int64, ``K = min(k, eligible items)`` of them.
        score_K: float32, never increasing, finite.
    """

    item_index_K: NDArray[np.int64]
    score_K: NDArray[np.float32]


class Retriever(Protocol):
    """Finds the best items of an item matrix for a batch of queries, exactly."""

    @property
    def name(self) -> str:
        """The mode as ``/models`` shows it."""

    def top_k(
        self, query_BH: Tensor, wanted: Sequence[Wanted], histories: HistoryBatch | None = None
    ) -> list[TopK]:
        """Pick ``min(k, eligible)`` items for each of B rows; hidden items never come back.

        Args:
            query_BH: The last hidden layer; H may be 0.
            wanted: One per row.
            histories: Of the same rows; a retriever over an item-item matrix needs them, others
                pass them over.
        """
