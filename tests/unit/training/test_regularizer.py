import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from training.regularizer import MAX_TRIALS, Regularizer, affordable_trials, choose

LOG = csr_array(np.array([[1, 1, 0], [1, 0, 0], [1, 2, 0]], dtype=np.float32))


def test_the_diagonal_is_that_of_steck() -> None:
    assert Regularizer(5.0).diagonal_I(LOG).tolist() == [5.0, 5.0, 5.0]
    np.testing.assert_allclose(Regularizer(5.0, 0.75).diagonal_I(LOG), [14.0, 20.0, 5.0])


def test_the_guess_scales_with_the_histories_and_leaves_alone_what_is_given() -> None:
    rows = np.ones((4, 20), dtype=np.float32)
    assert Regularizer.guess(csr_array(rows), None, 0.0) == Regularizer(20.0, 0.0)
    assert Regularizer.guess(csr_array(rows), None, None) == Regularizer(10.0, 0.5)
    assert Regularizer.guess(csr_array(rows), 7.0, 0.3) == Regularizer(7.0, 0.3)
    longer = Regularizer.guess(csr_array(np.ones((4, 40), dtype=np.float32)), None, 0.0)
    assert longer.l2 == 80.0


class Peak:
    """One regulariser is best, and all others are worse by their distance; counts the asking."""

    def __init__(self, l2: float, dropout: float) -> None:
        self._l2 = math.log2(l2)
        self._odds = log_odds(dropout)
        self.asked: list[Regularizer] = []

    def __call__(self, regularizer: Regularizer) -> float:
        self.asked.append(regularizer)
        apart = (math.log2(regularizer.l2) - self._l2) ** 2
        return -apart - (log_odds(regularizer.dropout) - self._odds) ** 2


def log_odds(dropout: float) -> float:
    return math.log2(dropout / (1 - dropout))


@given(st.floats(8, 2000), st.floats(0.2, 0.8))
def test_the_search_ends_within_half_a_step_of_a_lone_peak(l2: float, dropout: float) -> None:
    peak, start = Peak(l2, dropout), Regularizer(100.0, 0.5)
    found = choose(peak, start, 1000, l2_is_free=True, dropout_is_free=True)
    assert abs(math.log2(found.l2 / l2)) <= 0.26
    assert abs(log_odds(found.dropout) - log_odds(dropout)) <= 0.26
    assert len(peak.asked) == len(set(peak.asked)) < 40


@pytest.mark.parametrize(("l2_is_free", "dropout_is_free"), [(True, False), (False, True)])
def test_what_is_given_stays_to_the_last_digit(l2_is_free: bool, dropout_is_free: bool) -> None:
    peak, start = Peak(1000.0, 0.8), Regularizer(0.1, 0.3)
    found = choose(peak, start, 100, l2_is_free=l2_is_free, dropout_is_free=dropout_is_free)
    assert (found.l2 == start.l2) == (not l2_is_free)
    assert (found.dropout == start.dropout) == (not dropout_is_free)


def test_nothing_is_asked_where_nothing_is_free_or_one_trial_is_all() -> None:
    peak, start = Peak(1000.0, 0.8), Regularizer(1.0, 0.3)
    assert choose(peak, start, 100, l2_is_free=False, dropout_is_free=False) is start
    assert choose(peak, start, 1, l2_is_free=True, dropout_is_free=True) is start
    assert peak.asked == []


@pytest.mark.parametrize("trials", [2, 5, 9])
def test_no_more_is_asked_than_allowed_and_the_best_of_it_is_taken(trials: int) -> None:
    peak, start = Peak(3000.0, 0.9), Regularizer(1.0, 0.1)
    found = choose(peak, start, trials, l2_is_free=True, dropout_is_free=True)
    assert len(peak.asked) == trials
    assert peak(found) == max(peak(asked) for asked in list(peak.asked))


def test_larger_matrices_get_fewer_trials() -> None:
    assert affordable_trials(100_000, 3_500) == MAX_TRIALS
    assert affordable_trials(20_000, 10_000) == 12
    assert affordable_trials(100_000, 30_000) == 1
    assert affordable_trials(1_500, 30_000) == MAX_TRIALS
