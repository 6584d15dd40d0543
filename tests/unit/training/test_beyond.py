"""Coverage, Gini and novelty against their definitions."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from training.beyond import beyond_accuracy, gini

TRAIN = csr_array(np.array([[1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 1, 0], [1, 0, 0, 1]], np.float32))


def test_coverage_and_novelty_follow_their_definitions() -> None:
    told = beyond_accuracy([np.array([0, 1]), np.array([0, 2])], TRAIN)
    assert told["coverage@20"] == pytest.approx(3 / 4)
    # All users have item 0, a quarter has item 1, half have item 2.
    assert told["novelty@20"] == pytest.approx((0 + 2 + 0 + 1) / 4)


def test_only_the_first_twenty_items_of_a_list_count() -> None:
    wide = csr_array(np.ones((2, 50), dtype=np.float32))
    told = beyond_accuracy([np.arange(50)], wide)
    assert told["coverage@20"] == pytest.approx(20 / 50)


def test_no_lists_show_nothing() -> None:
    told = beyond_accuracy([], TRAIN)
    assert told == {"coverage@20": 0.0, "gini@20": 0.0, "novelty@20": 0.0}


def test_gini_is_zero_where_all_is_alike_and_nears_one_where_one_has_all() -> None:
    assert gini(np.array([3, 3, 3])) == pytest.approx(0)
    assert gini(np.array([0] * 99 + [7])) == pytest.approx(0.99)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=12))
def test_gini_is_half_the_mean_difference_over_the_mean(values: list[int]) -> None:
    number, total = len(values), sum(values)
    pairs = itertools.product(values, values)
    difference = math.fsum(abs(one - other) for one, other in pairs) / number**2
    expected = difference / (2 * total / number) if total else 0.0
    assert gini(np.array(values)) == pytest.approx(expected)
