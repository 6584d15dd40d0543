"""The inverse, by both ways, against numpy's; and what it takes."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import csr_array

from training import footprint, inverse
from training.errors import BadInputError
from training.precision import ItemPrecision, Precision, UserPrecision, precision

NUM_ITEMS = 6
LOGS = arrays(
    np.float64,
    st.sampled_from([(9, NUM_ITEMS), (NUM_ITEMS, NUM_ITEMS), (3, NUM_ITEMS)]),
    elements=st.sampled_from([0.0, 0.0, 1.0, 2.5]),
)
DIAGONALS = arrays(np.float64, NUM_ITEMS, elements=st.floats(0.25, 300))


def both_ways(x_UI: np.ndarray, diagonal_I: np.ndarray) -> list[Precision]:
    return [made(csr_array(x_UI), diagonal_I) for made in (ItemPrecision, UserPrecision)]


@given(LOGS, DIAGONALS, st.sampled_from([1, 4, 1024]))
def test_either_way_gives_the_explicit_inverse(
    x_UI: np.ndarray, diagonal_I: np.ndarray, block: int
) -> None:
    expected_II = np.linalg.inv(x_UI.T @ x_UI + np.diag(diagonal_I))
    history = csr_array(np.array([[0, 1, 0, 2, 0, 0], [0] * NUM_ITEMS], dtype=np.float64))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(footprint, "BLOCK", block)
        for found in both_ways(x_UI, diagonal_I):
            np.testing.assert_allclose(found.rows(0, NUM_ITEMS), expected_II, atol=1e-9)
            np.testing.assert_allclose(found.rows(2, 4), expected_II[2:4], atol=1e-9)
            np.testing.assert_allclose(found.diagonal_I, np.diag(expected_II), atol=1e-9)
            expected = history.toarray() @ expected_II
            np.testing.assert_allclose(found.times(history), expected, atol=1e-9)


@given(LOGS, DIAGONALS, st.integers(0, 99))
def test_the_order_of_users_and_items_changes_nothing(
    x_UI: np.ndarray, diagonal_I: np.ndarray, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    users, items = generator.permutation(len(x_UI)), generator.permutation(NUM_ITEMS)
    shuffled = both_ways(x_UI[users][:, items], diagonal_I[items])
    for first, second in zip(both_ways(x_UI, diagonal_I), shuffled, strict=True):
        expected_II = first.rows(0, NUM_ITEMS)[items][:, items]
        np.testing.assert_allclose(second.rows(0, NUM_ITEMS), expected_II, atol=1e-9)


@pytest.mark.parametrize(
    ("num_users", "way"), [(50, ItemPrecision), (20, ItemPrecision), (19, UserPrecision)]
)
def test_the_smaller_matrix_is_inverted(num_users: int, way: type) -> None:
    x_UI = np.ones((num_users, 20), dtype=np.float32)
    assert isinstance(precision(csr_array(x_UI), np.ones(20)), way)


def test_one_dense_matrix_is_held_and_no_second_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint, "BLOCK", 32)
    monkeypatch.setattr(inverse, "ROWS", 32)
    side = 1000
    rows = (np.random.default_rng(0).random((2 * side, side)) < 0.01).astype(np.float64)
    train = csr_array(rows)
    tracemalloc.start()
    found = ItemPrecision(train, np.ones(side))
    found.times(csr_array(rows[:10]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.3 * 8 * side**2


def test_what_memory_cannot_hold_is_refused_before_it_is_allocated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(footprint, "available_bytes", lambda: 2_000_000_000)
    with pytest.raises(BadInputError):
        precision(csr_array((138_000, 24_000)), np.ones(24_000))


def test_a_matrix_that_is_not_positive_definite_is_an_error() -> None:
    with pytest.raises(np.linalg.LinAlgError, match="dpotrf: 1"):
        ItemPrecision(csr_array(np.zeros((4, 3))), np.array([-1.0, 1.0, 1.0]))
