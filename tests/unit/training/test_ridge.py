"""Ridge regression: equal to the textbook, and as good as leaving every row out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from training.ridge import Dense, Ridge


def drawn(seed: int, rows: int = 40, features: int = 6) -> tuple[csr_array, Dense, Dense]:
    generator = np.random.default_rng(seed)
    feature_IF = generator.random((rows, features)) * (generator.random((rows, features)) < 0.5)
    target_IH = feature_IF @ generator.normal(size=(features, 3)) + generator.normal(size=(rows, 3))
    return csr_array(feature_IF), target_IH, generator.uniform(0.1, 1, rows)


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_the_solution_is_that_of_the_normal_equations(seed: int) -> None:
    features, target_IH, weight_I = drawn(seed)
    fit = Ridge(features, weight_I).fit(target_IH)
    centred_IF = features.toarray() - weight_I @ features.toarray() / weight_I.sum()
    right_FH = centred_IF.T @ (weight_I[:, None] * target_IH)
    left_FF = centred_IF.T @ (weight_I[:, None] * centred_IF) + fit.l2 * np.eye(6)
    np.testing.assert_allclose(fit.coefficient_FH, np.linalg.solve(left_FF, right_FH), atol=1e-8)


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_sparse_targets_are_fitted_as_dense_ones(seed: int) -> None:
    features, target_IH, weight_I = drawn(seed)
    target_IH[target_IH < 0.5] = 0
    ridge = Ridge(features, weight_I)
    dense, sparse = ridge.fit(target_IH), ridge.fit(csr_array(target_IH))
    assert dense.l2 == sparse.l2
    assert dense.explained == pytest.approx(sparse.explained)
    np.testing.assert_allclose(dense.predict(features), sparse.predict(features), atol=1e-10)


def test_the_penalty_is_nearly_the_one_that_leaving_rows_out_prefers() -> None:
    features, target_IH, weight_I = drawn(4, rows=150, features=40)
    weight_I[:] = 1
    fit = Ridge(features, weight_I).fit(target_IH)
    plain_IF = features.toarray()

    def left_out_error(l2: float) -> float:
        total = 0.0
        for row in range(0, 150, 3):
            rest = np.arange(150) != row
            x, y = plain_IF[rest], target_IH[rest]
            left = (x - x.mean(0)).T @ (x - x.mean(0)) + l2 * np.eye(40)
            c = np.linalg.solve(left, (x - x.mean(0)).T @ y)
            guess = y.mean(0) + (plain_IF[row] - x.mean(0)) @ c
            total += float(np.square(guess - target_IH[row]).sum())
        return total

    best = min(left_out_error(fit.l2 * factor) for factor in np.logspace(-3, 3, 13))
    assert left_out_error(fit.l2) < 1.03 * best
    assert 0.1 < fit.explained < 0.9


def test_rows_without_weight_do_not_count() -> None:
    features, target_IH, weight_I = drawn(7)
    weight_I[20:] = 0
    spoilt = target_IH.copy()
    spoilt[20:] = 1e6
    ridge = Ridge(features, weight_I)
    np.testing.assert_allclose(
        ridge.fit(target_IH).coefficient_FH, ridge.fit(spoilt).coefficient_FH, atol=1e-6
    )


def test_a_row_without_features_gets_the_mean_and_so_do_all_where_features_never_vary() -> None:
    features, target_IH, weight_I = drawn(2)
    fit = Ridge(features, weight_I).fit(target_IH)
    nothing = csr_array((2, 6))
    np.testing.assert_allclose(fit.predict(nothing), np.tile(fit.mean_H, (2, 1)))
    same = Ridge(csr_array(np.ones((40, 6))), weight_I).fit(target_IH)
    np.testing.assert_allclose(same.predict(csr_array(np.ones((1, 6))))[0], same.mean_H)
    assert same.explained == 0


def test_constant_targets_are_predicted_and_explain_nothing() -> None:
    features, _, weight_I = drawn(2)
    fit = Ridge(features, weight_I).fit(np.full((40, 2), 3.0))
    np.testing.assert_allclose(fit.predict(features), 3.0)
    assert Ridge(features, weight_I).fit(np.zeros((40, 0))).explained == 0
