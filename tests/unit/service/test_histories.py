from dataclasses import replace

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from service.autoencoders.layers import normalized
from service.histories import UNKNOWN_USER, History, HistoryBatch


@given(st.lists(st.tuples(st.integers(0, 20), st.floats(-8, 8, width=32))))
def test_a_history_is_sorted_unique_and_keeps_the_larger_weight(
    entries: list[tuple[int, float]],
) -> None:
    history = History.of([item for item, _ in entries], [weight for _, weight in entries])
    expected: dict[int, float] = {}
    for item, weight in entries:
        expected[item] = max(weight, expected.get(item, weight))
    assert history.item_index_N.tolist() == sorted(expected)
    assert history.weight_N.tolist() == [expected[item] for item in sorted(expected)]


def merged_by_unique(
    items: list[int], weights: list[float] | None
) -> tuple[list[int], list[float]]:
    """How a history was merged before it was made fast."""
    item_N = np.asarray(items, dtype=np.int64)
    unique_N, position_N = np.unique(item_N, return_inverse=True)
    weight_N = np.full(len(unique_N), -np.inf, dtype=np.float32)
    given_N = np.ones(len(items)) if weights is None else np.asarray(weights)
    np.maximum.at(weight_N, position_N, given_N.astype(np.float32))
    return unique_N.tolist(), weight_N.tolist()


@given(st.lists(st.tuples(st.integers(0, 300), st.floats(1e-6, 1e6))), st.booleans())
def test_merging_gives_the_same_bits_as_numpys_unique(
    entries: list[tuple[int, float]], weighted: bool
) -> None:
    items = [item for item, _ in entries]
    weights = [weight for _, weight in entries] if weighted else None
    history = History.of(items, weights)
    assert (history.item_index_N.tolist(), history.weight_N.tolist()) == merged_by_unique(
        items, weights
    )
    assert history.item_index_N.dtype == np.int64
    assert history.weight_N.dtype == np.float32


def test_the_callers_array_stays_as_it_is() -> None:
    given_N = np.array([5, 2, 5])
    History.of(given_N)
    assert given_N.tolist() == [5, 2, 5]


def test_of_ratings_below_zero_the_larger_one_counts_too() -> None:
    history = History.of([3, 1, 3], [-7.5, 0.0, -2.0])
    assert history.weight_N.tolist() == [0.0, -2.0]


def test_entries_without_weights_weigh_one() -> None:
    assert History.of([5, 2, 5]).weight_N.tolist() == [1, 1]


def test_a_batch_is_csr() -> None:
    batch = HistoryBatch.from_rows([History.of([4, 1]), History.of([]), History.of([7])])
    assert batch.item_index_N.tolist() == [1, 4, 7]
    assert batch.offset_B1.tolist() == [0, 2, 2, 3]
    assert batch.length_B.tolist() == [2, 0, 1]
    assert batch.row_N.tolist() == [0, 0, 2]
    assert batch.user_index_B.tolist() == [UNKNOWN_USER] * 3
    assert batch.sum_per_row(torch.tensor([1.0, 2.0, 4.0])).tolist() == [3, 0, 4]


def test_posted_rows_equal_csr_rows() -> None:
    posted = HistoryBatch.from_rows([History.of([3, 1]), History.of([2])], [0, 5])
    csr = HistoryBatch.from_csr(
        np.array([0, 2, 3]), np.array([1, 3, 2]), np.ones(3), np.array([0, 5])
    )
    for ours, theirs in (
        (posted.item_index_N, csr.item_index_N),
        (posted.weight_N, csr.weight_N),
        (posted.offset_B1, csr.offset_B1),
        (posted.user_index_B, csr.user_index_B),
    ):
        assert torch.equal(ours, theirs)


def test_a_batch_of_nobody_is_a_batch() -> None:
    batch = HistoryBatch.from_rows([])
    assert len(batch) == 0
    assert batch.offset_B1.tolist() == [0]


def test_a_history_brings_the_weights_that_a_batch_would_compute() -> None:
    rows = [History.of([3, 1], [0.5, 4.0]), History.of([]), History.of([2, 5, 7])]
    batch = HistoryBatch.from_rows(rows)
    computed = normalized(replace(batch, unit_weight_N=None)).weight_N
    torch.testing.assert_close(normalized(batch).weight_N, computed)
    torch.testing.assert_close(batch.sum_per_row(computed.square()), torch.tensor([1.0, 0.0, 1.0]))
