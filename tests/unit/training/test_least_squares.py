"""The half step of ALS against a dense solution, row by row."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from training import least_squares
from training.least_squares import Penalty, solve_rows

DIM = 3
PENALTY = Penalty(l2=0.4, absent_weight=0.1)


def textbook(row_I: np.ndarray, vectors_ID: np.ndarray, penalty: Penalty) -> np.ndarray:
    """Solve for one row: weighted squares on its entries, squares of all scores, L2."""
    weight_I = row_I + penalty.absent_weight
    count = np.count_nonzero(row_I) + penalty.absent_weight * len(row_I)
    system = vectors_ID.T @ (weight_I[:, None] * vectors_ID)
    system += penalty.l2 * np.sqrt(count) * np.eye(vectors_ID.shape[1])
    solution: np.ndarray = np.linalg.solve(system, vectors_ID.T @ row_I)
    return solution


def loss_at(x_D: np.ndarray, row_I: np.ndarray, vectors_ID: np.ndarray) -> float:
    score_I = vectors_ID @ x_D
    count = np.count_nonzero(row_I) + PENALTY.absent_weight * len(row_I)
    entries = (row_I * (score_I - 1) ** 2)[row_I > 0].sum()
    absent = PENALTY.absent_weight * (score_I**2).sum()
    return float(entries + absent + PENALTY.l2 * np.sqrt(count) * (x_D**2).sum())


def random_rows(seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    lengths = generator.integers(0, 12, 9)
    rows = np.zeros((9, 12), dtype=np.float32)
    for row, length in zip(rows, lengths, strict=True):
        row[generator.choice(12, length, replace=False)] = generator.uniform(0.5, 3, length)
    return rows, generator.normal(size=(12, DIM)).astype(np.float32)


@given(st.integers(0, 10**6))
def test_every_row_is_solved_as_if_it_were_alone(seed: int) -> None:
    rows, vectors_ID = random_rows(seed)
    found_BD = solve_rows(csr_array(rows), torch.from_numpy(vectors_ID), PENALTY).numpy()
    expected_BD = [textbook(row, vectors_ID.astype(float), PENALTY) for row in rows]
    np.testing.assert_allclose(found_BD, expected_BD, rtol=1e-3, atol=1e-4)


def test_small_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, vectors_ID = random_rows(3)
    whole_BD = solve_rows(csr_array(rows), torch.from_numpy(vectors_ID), PENALTY)
    monkeypatch.setattr(least_squares, "BLOCK_NUMBERS", 2 * DIM**2)
    parts_BD = solve_rows(csr_array(rows), torch.from_numpy(vectors_ID), PENALTY)
    torch.testing.assert_close(parts_BD, whole_BD)


def test_no_other_vector_has_a_smaller_loss() -> None:
    rows, vectors_ID = random_rows(5)
    found_BD = solve_rows(csr_array(rows), torch.from_numpy(vectors_ID), PENALTY).numpy()
    generator = np.random.default_rng(0)
    for row, x_D in zip(rows, found_BD, strict=True):
        least = loss_at(x_D, row, vectors_ID)
        for _ in range(20):
            other_D = x_D + generator.normal(scale=0.05, size=DIM)
            assert loss_at(other_D, row, vectors_ID) > least


def test_a_row_without_entries_gets_zeros() -> None:
    _, vectors_ID = random_rows(1)
    empty = csr_array(np.zeros((2, 12), dtype=np.float32))
    assert not solve_rows(empty, torch.from_numpy(vectors_ID), PENALTY).any()
