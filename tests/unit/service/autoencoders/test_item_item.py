from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from service.autoencoders.item_item import ItemItem
from service.histories import History, HistoryBatch

NUM_ITEMS = 12


@dataclass(frozen=True)
class Case:
    """A sparse matrix as arrays and as a dense one, and weighted histories."""

    matrix: ItemItem
    dense_II: np.ndarray
    histories: list[History]


def sparse(dense_II: np.ndarray) -> ItemItem:
    row_M, item_M = np.nonzero(dense_II)
    offset_I1 = np.searchsorted(row_M, np.arange(len(dense_II) + 1))
    weight_M = dense_II[row_M, item_M]
    return ItemItem.of(*(torch.from_numpy(part) for part in (offset_I1, item_M, weight_M)))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    generator = np.random.default_rng(draw(st.integers(0, 10_000)))
    dense_II = generator.normal(size=(NUM_ITEMS, NUM_ITEMS)).astype(np.float32)
    dense_II *= generator.random(dense_II.shape) < draw(st.sampled_from([0.0, 0.2, 1.0]))
    entries = st.dictionaries(st.integers(0, NUM_ITEMS - 1), st.floats(1e-6, 1e6))
    drawn = draw(st.lists(entries, min_size=1, max_size=5))
    histories = [History.of(list(row), list(row.values())) for row in drawn]
    return Case(sparse(dense_II), dense_II, histories)


@given(cases())
def test_scores_are_the_dense_product_in_float64(case: Case) -> None:
    score_BI = case.matrix(HistoryBatch.from_rows(case.histories))
    assert score_BI.dtype == torch.float64
    assert score_BI.shape == (len(case.histories), NUM_ITEMS)
    for history, score_I in zip(case.histories, score_BI, strict=True):
        expected_I = np.zeros(NUM_ITEMS)
        for item, weight in zip(history.item_index_N, history.weight_N, strict=True):
            expected_I += float(weight) * case.dense_II[item].astype(np.float64)
        np.testing.assert_array_equal(score_I.numpy(), expected_I)


@given(cases())
def test_a_row_alone_is_bit_for_bit_the_row_in_a_batch(case: Case) -> None:
    together = case.matrix(HistoryBatch.from_rows(case.histories))
    for row, history in enumerate(case.histories):
        alone = case.matrix(HistoryBatch.from_rows([history]))
        assert torch.equal(alone[0], together[row])


@given(cases())
def test_what_a_gpu_runs_adds_the_same_numbers_up(case: Case) -> None:
    for history in case.histories:
        batch = HistoryBatch.from_rows([history])
        item_N, weight_N = batch.item_index_N, batch.weight_N.double()
        added_I = case.matrix._added_by_torch(item_N, weight_N)
        assert torch.equal(added_I, case.matrix(batch)[0])


def test_the_arrays_of_a_matrix_pass_the_check() -> None:
    sparse(np.eye(3, dtype=np.float32)).check()
    ItemItem(3, 0).check()


@pytest.mark.parametrize(
    ("offsets", "items", "weights", "message"),
    [
        ([1, 1, 2], [0, 1], [1.0, 1.0], "offsets"),
        ([0, 1, 1], [0, 1], [1.0, 1.0], "offsets"),
        ([0, 3, 2], [0, 1], [1.0, 1.0], "offsets"),
        ([0, 1, 2], [0, 2], [1.0, 1.0], "an item that there is not"),
        ([0, 1, 2], [-1, 1], [1.0, 1.0], "an item that there is not"),
        ([0, 1, 2], [0, 1], [1.0, float("nan")], "not finite"),
        ([0, 1, 2], [0, 1], [float("inf"), 1.0], "not finite"),
    ],
)
def test_arrays_that_are_no_matrix_are_refused(
    offsets: list[int], items: list[int], weights: list[float], message: str
) -> None:
    matrix = ItemItem.of(torch.tensor(offsets), torch.tensor(items), torch.tensor(weights))
    with pytest.raises(ValueError, match=message):
        matrix.check()
