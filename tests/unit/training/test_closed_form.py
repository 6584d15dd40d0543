"""EASE and EDLAE against least squares, solved column by column."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import csr_array

from service.histories import History, HistoryBatch
from service.retrieval.base import Wanted
from training import closed_form, regularizer
from training.closed_form import ClosedForm, some_of, tuned
from training.data.split import Split
from training.evaluate import evaluate
from training.pruning import zero_diagonal_rows
from training.regularizer import Regularizer

NUM_ITEMS = 5
LOGS = arrays(
    np.float64,
    st.sampled_from([(8, NUM_ITEMS), (5, NUM_ITEMS), (3, NUM_ITEMS)]),
    elements=st.sampled_from([0.0, 1.0]),
)


def weights_of(x_UI: np.ndarray, regularizer: Regularizer) -> np.ndarray:
    num_items = x_UI.shape[1]
    precision = ClosedForm(csr_array(x_UI), regularizer).precision
    return zero_diagonal_rows(precision, 0, num_items)


@given(LOGS, st.sampled_from([0.5, 10.0, 300.0]))
def test_cholesky_ease_equals_the_explicit_inverse(x_UI: np.ndarray, l2: float) -> None:
    inverse_II = np.linalg.inv(x_UI.T @ x_UI + l2 * np.eye(NUM_ITEMS))
    expected_II = np.eye(NUM_ITEMS) - inverse_II / np.diag(inverse_II)
    found_II = weights_of(x_UI, Regularizer(l2))
    np.testing.assert_allclose(found_II, expected_II, atol=1e-10)
    assert (np.diag(found_II) == 0).all()


def test_ease_solves_its_least_squares_problem() -> None:
    """At the optimum the gradient is zero off the diagonal, where B is free."""
    x_UI = (np.random.default_rng(0).random((40, 9)) < 0.4).astype(float)
    gram_II = x_UI.T @ x_UI
    weights_II = weights_of(x_UI, Regularizer(3.0))
    gradient_II = gram_II @ weights_II - gram_II + 3.0 * weights_II
    np.testing.assert_allclose(gradient_II[~np.eye(9, dtype=bool)], 0, atol=1e-9)


@given(LOGS, st.sampled_from([0.1, 0.5, 0.8]), st.sampled_from([0.5, 20.0]))
def test_edlae_is_ridge_regression_over_every_way_to_drop_its_input(
    x_UI: np.ndarray, dropout: float, l2: float
) -> None:
    """Column by column: restore an item from the others, each kept with probability 1 - p."""
    found_II = weights_of(x_UI, Regularizer(l2, dropout))
    assert (np.diag(found_II) == 0).all()
    for target in range(NUM_ITEMS):
        others = [item for item in range(NUM_ITEMS) if item != target]
        left_II = l2 * np.eye(len(others))
        right_I = np.zeros(len(others))
        for kept in itertools.product([0, 1], repeat=len(others)):
            chance = np.prod(np.where(kept, 1 - dropout, dropout))
            visible = x_UI[:, others] * kept / (1 - dropout)
            left_II += chance * visible.T @ visible
            right_I += chance * visible.T @ x_UI[:, target]
        expected_I = np.linalg.solve(left_II, right_I)
        np.testing.assert_allclose(found_II[others, target], expected_I, atol=1e-9)


@given(LOGS, st.integers(0, 99))
def test_the_order_of_users_and_items_changes_no_weight(x_UI: np.ndarray, seed: int) -> None:
    generator = np.random.default_rng(seed)
    users, items = generator.permutation(len(x_UI)), generator.permutation(NUM_ITEMS)
    regularizer = Regularizer(2.0, 0.4)
    expected_II = weights_of(x_UI, regularizer)[items][:, items]
    found_II = weights_of(x_UI[users][:, items], regularizer)
    np.testing.assert_allclose(found_II, expected_II, atol=1e-10)


def test_lists_are_those_of_the_dense_weights() -> None:
    x_UI = (np.random.default_rng(1).random((30, 12)) < 0.4).astype(float)
    regularizer = Regularizer(2.0, 0.3)
    weights_II = weights_of(x_UI, regularizer)
    batch = HistoryBatch.from_rows([History.of([2, 7], [1.0, 3.0]), History.of([])])
    wanted = [Wanted(12, np.array([7])), Wanted(3, np.array([0]))]
    first, second = ClosedForm(csr_array(x_UI), regularizer).top_k(batch, wanted)
    score_I = weights_II[2] + 3 * weights_II[7]
    expected = [index for index in np.argsort(-score_I, kind="stable") if index != 7]
    assert first.item_index_K.tolist() == expected
    np.testing.assert_allclose(first.score_K, score_I[expected], rtol=1e-5)
    assert second.item_index_K.tolist() == [1, 2, 3]


def test_validation_chooses_what_is_not_given(planted_split: Split) -> None:
    shares: list[float] = []
    start = Regularizer.guess(planted_split.train, None, 0.0)
    found = tuned(planted_split, None, 0.0, shares.append)
    assert found.dropout == 0
    assert 0 < sum(shares) <= 1
    merits = [
        evaluate(ClosedForm(planted_split.train, each), planted_split.valid).ndcg_at_100
        for each in (start, found)
    ]
    assert merits[1] >= merits[0]
    assert tuned(planted_split, 9.0, 0.25, shares.append) == Regularizer(9.0, 0.25)


def test_a_matrix_that_is_dear_to_invert_gets_the_guess(
    planted_split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(regularizer, "SEARCH_OPERATIONS", 1.0)
    guess = Regularizer.guess(planted_split.train, None, None)
    assert tuned(planted_split, None, None, lambda _: None) == guess


def test_of_many_validation_users_an_even_share_chooses(
    planted_split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert some_of(planted_split.valid) is planted_split.valid
    monkeypatch.setattr(closed_form, "CHOOSING_USERS", 4)
    some = some_of(planted_split.valid)
    rows = [0, 9, 19, 29]
    assert some.user_ids == tuple(planted_split.valid.user_ids[row] for row in rows)
    assert (some.target.toarray() == planted_split.valid.target.toarray()[rows]).all()
    assert (some.history.toarray() == planted_split.valid.history.toarray()[rows]).all()
    assert some.user_index_U.tolist() == [-1] * 4
