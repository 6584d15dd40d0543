"""Several ways to the same lists: each batch goes the way that was fastest for its size."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Final, TypeAlias, final

from torch import Tensor

from service.histories import HistoryBatch
from service.retrieval.base import Retriever, TopK, Wanted

# Batch sizes to measure; a batch goes the way of the next larger one.
SIZES: Final = (1, 8, 32)
REPEATS: Final = 3

Batch: TypeAlias = tuple[Tensor, Sequence[Wanted], HistoryBatch]


@final
class FastestRetriever:
    """Measures retrievers at load, and then uses each where it was the fastest.

    All of them must be exact: the choice, which chance may tip, then changes no answer.

    Args:
        ways: Retrievers of one model, at least one.
        batch_of: Makes a typical batch of so many rows.
        clock: Seconds from any fixed point, never going back.
    """

    def __init__(
        self,
        ways: Sequence[Retriever],
        batch_of: Callable[[int], Batch],
        clock: Callable[[], float],
    ) -> None:
        self._ways = [_fastest(ways, batch_of(size), clock) for size in SIZES]

    @property
    def name(self) -> str:
        """Which way batches go; where it depends on their size, up to which."""
        sized = zip(SIZES, self._ways, strict=True)
        runs = [(name, list(run)) for name, run in groupby(sized, key=lambda pair: pair[1].name)]
        *some, (last, _) = [(name, run[-1][0]) for name, run in runs]
        return ", ".join([*(f"{name} up to {size} rows" for name, size in some), last])

    def top_k(
        self, query_BH: Tensor, wanted: Sequence[Wanted], histories: HistoryBatch | None = None
    ) -> list[TopK]:
        """Pick ``min(k, eligible)`` items for each of B rows; hidden items never come back."""
        position = min(bisect_left(SIZES, len(wanted)), len(SIZES) - 1)
        return self._ways[position].top_k(query_BH, wanted, histories)


def _fastest(ways: Sequence[Retriever], batch: Batch, clock: Callable[[], float]) -> Retriever:
    # The first run of each picks kernels and grows allocators.
    seconds: dict[int, float] = {}
    for _ in range(1 + REPEATS):
        for number, way in enumerate(ways):
            started_s = clock()
            way.top_k(*batch)
            seconds[number] = min(seconds.get(number, float("inf")), clock() - started_s)
    return ways[min(seconds, key=lambda number: seconds[number])]
