from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from service.histories import History, HistoryBatch
from service.retrieval.base import TopK, Wanted
from service.retrieval.fastest import Batch, FastestRetriever


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Timed:
    """Takes a fixed time a call and a time a row, and answers with nothing."""

    def __init__(self, name: str, clock: Clock, call_s: float, row_s: float) -> None:
        self.name = name
        self.sizes: list[int] = []
        self._clock = clock
        self._call_s = call_s
        self._row_s = row_s

    def top_k(
        self, query_BH: Tensor, wanted: Sequence[Wanted], histories: HistoryBatch | None = None
    ) -> list[TopK]:
        del query_BH, histories
        self.sizes.append(len(wanted))
        self._clock.now_s += self._call_s + self._row_s * len(wanted)
        return []


def batch_of(size: int) -> Batch:
    wanted = [Wanted(1, np.empty(0, dtype=np.int64))] * size
    return torch.zeros(size, 1), wanted, HistoryBatch.from_rows([History.of([0])] * size)


def test_each_batch_goes_the_way_that_was_fastest_for_its_size() -> None:
    clock = Clock()
    small, large = Timed("small", clock, 1, 1), Timed("large", clock, 10, 0.1)
    retriever = FastestRetriever([small, large], batch_of, clock)
    assert retriever.name == "small up to 8 rows, large"
    small.sizes.clear()
    large.sizes.clear()
    for size in (1, 5, 8, 9, 32, 500):
        retriever.top_k(*batch_of(size))
    assert (small.sizes, large.sizes) == ([1, 5, 8], [9, 32, 500])


def test_one_way_for_all_sizes_is_named_alone() -> None:
    clock = Clock()
    ways = [Timed("slow", clock, 2, 2), Timed("fast", clock, 1, 1)]
    assert FastestRetriever(ways, batch_of, clock).name == "fast"


def test_a_way_that_is_the_fastest_for_small_and_for_large_batches_is_named_twice() -> None:
    clock = Clock()
    int8, exact = Timed("int8", clock, 1, 1), Timed("exact", clock, 1, 1)
    retriever = FastestRetriever([int8, exact], batch_of, clock)
    retriever._ways = [int8, exact, int8]
    assert retriever.name == "int8 up to 1 rows, exact up to 8 rows, int8"
