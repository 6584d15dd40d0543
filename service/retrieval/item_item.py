"""Retrieval for full-rank linear models: the score is a sparse product with an item-item matrix."""

from collections.abc import Callable, Sequence
from typing import final

from torch import Tensor

from service.histories import HistoryBatch
from service.retrieval.base import TopK, Wanted
from service.retrieval.ranking import rank


@final
class ItemItemRetriever:
    """The best items by ``linear(history) + bias``; there is no item matrix to search.

    The sum runs in float64 over the entries in one order and is rounded to float32: a list does
    not depend on the batch that it rides in.
    """

    name = "item-item"

    def __init__(self, linear: Callable[[HistoryBatch], Tensor], item_bias_I: Tensor) -> None:
        self._linear = linear
        self._item_bias_I = item_bias_I.detach().double()

    def top_k(
        self, query_BH: Tensor, wanted: Sequence[Wanted], histories: HistoryBatch | None = None
    ) -> list[TopK]:
        """Pick ``min(k, eligible)`` items for each of B rows; hidden items never come back.

        Raises:
            ValueError: There are no histories.
        """
        del query_BH  # empty: a linear model has no hidden layer
        if histories is None:
            raise ValueError("an item-item matrix needs histories")
        return rank((self._linear(histories) + self._item_bias_I).float(), wanted)
