import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from service.autoencoders.item_item import ItemItem
from training import footprint, pruning
from training.precision import Precision, precision
from training.pruning import Loss, Pruned, prune, zero_diagonal_rows

NUM_ITEMS = 40


def inverse(num_users: int = 60, seed: int = 0) -> Precision:
    rows = np.random.default_rng(seed).random((num_users, NUM_ITEMS)) < 0.2
    return precision(csr_array(rows.astype(np.float64)), np.full(NUM_ITEMS, 5.0))


def dense(matrix: ItemItem) -> np.ndarray:
    bounds = matrix.offset_I1.tolist()
    weights_II = np.zeros((matrix.num_items, matrix.num_items), dtype=np.float32)
    for row in range(matrix.num_items):
        entries = slice(bounds[row], bounds[row + 1])
        weights_II[row, matrix.item_index_M[entries]] = matrix.weight_M[entries]
    return weights_II


def kept_within(max_loss: float, found: Precision) -> Pruned:
    """Prune with the share of the squared weights that is gone as the loss."""
    total = float(np.square(zero_diagonal_rows(found, 0, NUM_ITEMS)).sum())
    return prune(
        found, lambda matrix: Loss(1 - float(matrix.weight_M.square().sum()) / total, 0.0), max_loss
    )


@settings(max_examples=30)
@given(st.sampled_from([60, 20]), st.integers(0, 99), st.sampled_from([1.0, 0.5, 0.1, 0.01]))
def test_the_largest_weights_are_kept_and_as_few_as_are_worth_enough(
    num_users: int, seed: int, max_loss: float
) -> None:
    found = inverse(num_users, seed)
    pruned = kept_within(max_loss, found)
    full_II = zero_diagonal_rows(found, 0, NUM_ITEMS).astype(np.float32)
    kept_II = dense(pruned.matrix)
    pruned.matrix.check()
    np.testing.assert_array_equal(kept_II[kept_II != 0], full_II[kept_II != 0])
    gone_II = np.abs(full_II[kept_II == 0])
    assert gone_II.max(initial=0) <= np.abs(kept_II[kept_II != 0]).min()
    assert pruned.loss.mean <= max_loss
    assert pruned.density == len(pruned.matrix.weight_M) / NUM_ITEMS**2
    if max_loss == 1:
        assert pruned.density <= 2 * pruning.DENSITIES[0]


def test_the_whole_matrix_is_kept_where_less_is_not_worth_enough() -> None:
    found = inverse()
    pruned = kept_within(-1.0, found)
    np.testing.assert_array_equal(
        dense(pruned.matrix), zero_diagonal_rows(found, 0, NUM_ITEMS).astype(np.float32)
    )
    assert pruned.loss.mean == pytest.approx(0.0, abs=1e-6)
    assert (np.diag(dense(pruned.matrix)) == 0).all()


@pytest.mark.parametrize("block", [1, 7, 1024])
def test_the_size_of_the_blocks_changes_nothing(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = kept_within(0.1, inverse()).matrix
    monkeypatch.setattr(footprint, "BLOCK", block)
    found = kept_within(0.1, inverse()).matrix
    assert torch.equal(found.offset_I1, expected.offset_I1)
    assert torch.equal(found.item_index_M, expected.item_index_M)
    torch.testing.assert_close(found.weight_M, expected.weight_M)


def test_no_more_is_kept_than_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "MAX_WEIGHTS", 160)
    pruned = kept_within(-1.0, inverse())
    assert 0.08 < pruned.density < 0.12


def test_more_weights_than_there_is_room_for_are_kept_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = kept_within(-1.0, inverse()).matrix
    monkeypatch.setattr(pruning, "most_weights", lambda _: 100)
    monkeypatch.setattr(footprint, "BLOCK", 7)
    found = kept_within(-1.0, inverse()).matrix
    found.check()
    assert torch.equal(found.item_index_M, expected.item_index_M)
    torch.testing.assert_close(found.weight_M, expected.weight_M)


def test_rows_from_which_the_threshold_is_read_are_a_sample(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pruning, "SAMPLED_ROWS", 10)
    assert 0.0 <= kept_within(0.1, inverse()).loss.mean < 0.4


def test_the_loss_is_that_of_the_same_users_and_doubt_counts_as_loss() -> None:
    before_U, after_U = np.array([0.5, 0.25, 0.75, 0.5]), np.array([0.5, 0.0, 1.0, 0.25])
    loss = Loss.between(before_U, after_U)
    assert loss.mean == 0.0625
    assert loss.standard_error == pytest.approx(np.std([0, 0.25, -0.25, 0.25]) / 2)
    assert loss.at_most == loss.mean + loss.standard_error
    assert Loss(-0.5, 0.125).at_most == 0.125
    assert Loss.between(np.empty(0), np.empty(0)) == Loss(0.0, 0.0)


def test_a_matrix_whose_loss_is_in_doubt_is_not_taken() -> None:
    found = inverse()
    doubtful = prune(found, lambda _: Loss(-0.01, 0.02), 0.001)
    assert doubtful.density > 0.9
    assert prune(found, lambda _: Loss(-0.01, 0.0005), 0.001).density < 0.01
