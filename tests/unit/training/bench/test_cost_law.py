"""Laws of cost: what follows one is found again, and the better of two is chosen."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.bench.cost_law import fitted
from training.errors import BadInputError

SIZES = (5_000, 20_000, 80_000, 320_000)


@given(
    factor=st.floats(1e-6, 1e6),
    exponent=st.floats(-1, 2).filter(lambda value: min(abs(value), abs(value - 1)) > 0.05),
)
def test_a_power_is_found_again_whatever_its_scale(factor: float, exponent: float) -> None:
    law = fitted(SIZES, [factor * size**exponent for size in SIZES])
    assert law.form == "power"
    assert law.exponent == pytest.approx(exponent, abs=1e-6)
    assert law.factor == pytest.approx(factor, rel=1e-5)
    assert law.doubling == pytest.approx(2**exponent, rel=1e-6)
    assert law(1_000) == pytest.approx(factor * 1_000**exponent, rel=1e-5)
    assert law.r_squared == pytest.approx(1)


@given(fixed=st.floats(1, 1e4), share=st.floats(0.1, 10))
def test_a_fixed_part_is_told_from_what_grows(fixed: float, share: float) -> None:
    each = share * fixed / SIZES[-1]
    law = fitted(SIZES, [fixed + each * size for size in SIZES])
    assert law.form == "affine"
    assert law.fixed == pytest.approx(fixed, rel=1e-6)
    assert law.each == pytest.approx(each, rel=1e-6)
    assert law(SIZES[0]) == pytest.approx(fixed + each * SIZES[0])
    assert law.doubling == pytest.approx((1 + share) / (1 + share / 2))


def test_a_line_errs_by_the_same_share_everywhere() -> None:
    # Unweighted, what the largest size lacks would be made up for by the smallest one's cost.
    law = fitted([1.0, 10.0, 100.0, 1_000.0], [6.0, 15.0, 105.0, 905.0])
    assert law.form == "affine"
    assert law.fixed == pytest.approx(5, abs=0.5)


def test_the_error_of_the_exponent_is_that_of_a_line_through_the_logarithms() -> None:
    sizes, costs = [1.0, 2.0, 4.0, 8.0], [1.0, 2.2, 3.7, 8.4]
    x, y = np.log(sizes), np.log(costs)
    slope, intercept = np.polyfit(x, y, 1)
    left = y - (slope * x + intercept)
    error = np.sqrt(left @ left / 2 / ((x - x.mean()) @ (x - x.mean())))
    law = fitted(sizes, costs)
    assert law.exponent == pytest.approx(slope)
    assert law.exponent_error == pytest.approx(error)


def test_what_does_not_grow_has_an_exponent_of_zero() -> None:
    law = fitted(SIZES, [2.0] * len(SIZES))
    assert law.exponent == pytest.approx(0, abs=1e-9)
    assert law.doubling == pytest.approx(1)
    assert law.r_squared == 1


def test_a_line_that_goes_below_zero_is_no_law_of_costs() -> None:
    # The line errs by 2 % of the squares and more, and at the end has no cost at all.
    sizes = [1.0, 10.0, 100.0, 1_000.0]
    assert fitted(sizes, [1_000.0, 100.0, 10.0, 1.0]).form == "power"


@pytest.mark.parametrize(
    ("sizes", "costs", "words"),
    [
        ([1.0, 2.0, 2.0], [1.0, 2.0, 2.0], "3 different sizes"),
        ([0.0, 1.0, 2.0], [1.0, 2.0, 3.0], "above 0"),
        ([1.0, 2.0, 3.0], [1.0, 0.0, 3.0], "above 0"),
    ],
)
def test_too_few_or_impossible_numbers_are_bad_input(
    sizes: list[float], costs: list[float], words: str
) -> None:
    with pytest.raises(BadInputError, match=words):
        fitted(sizes, costs)
