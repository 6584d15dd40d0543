import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import linalg

from training import inverse
from training.inverse import held_beside, invert


def definite(side: int, seed: int = 0) -> NDArray[np.float64]:
    rows = np.random.default_rng(seed).normal(size=(2 * side, side))
    return np.asfortranarray(rows.T @ rows + np.eye(side))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 9), st.integers(0, 99))
def test_an_inverse_in_parts_is_the_inverse(side: int, largest: int, rows: int, seed: int) -> None:
    matrix = definite(side, seed)
    expected = np.linalg.inv(matrix)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inverse, "LARGEST_SIDE", largest)
        patch.setattr(inverse, "ROWS", rows)
        invert(matrix)
    np.testing.assert_allclose(matrix, expected, rtol=1e-9, atol=1e-12)
    assert np.array_equal(matrix, matrix.T) or largest < side


def test_a_matrix_that_is_not_definite_is_refused() -> None:
    with pytest.raises(linalg.LinAlgError, match="dpotrf: 2"):
        invert(np.asfortranarray([[1.0, 2.0], [2.0, 1.0]]))


def test_parts_are_held_beside_large_matrices_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inverse, "LARGEST_SIDE", 10)
    monkeypatch.setattr(inverse, "ROWS", 1)
    assert [held_beside(side) for side in (10, 20, 40)] == [0, 200, 1000]
