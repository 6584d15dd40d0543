import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.growing_column import GrowingColumn, narrowed

NUMBERS = st.one_of(
    st.integers(-(2**40), 2**40).map(float), st.floats(allow_nan=False, allow_infinity=False)
)


@given(st.lists(st.lists(NUMBERS, min_size=1, max_size=5), min_size=1, max_size=5))
def test_no_number_changes_however_the_parts_differ(parts: list[list[float]]) -> None:
    column = GrowingColumn()
    for part in parts:
        column.extend(narrowed(pl.Series(part, dtype=pl.Float64)))
    assert column.take().tolist() == [number for part in parts for number in part]


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (pl.Series([1, 2**31 - 1]), np.int32),
        (pl.Series([1, 2**31]), np.int64),
        (pl.Series([0.5, -3.0]), np.float32),
        (pl.Series([0.5, 0.1]), np.float64),
        (pl.Series([1e300]), np.float64),
    ],
)
def test_numbers_take_as_little_room_as_they_can(values: pl.Series, dtype: type) -> None:
    assert narrowed(values).dtype == dtype


def test_whole_and_broken_numbers_together_take_double_precision() -> None:
    column = GrowingColumn()
    column.extend(np.array([2**31 - 1], dtype=np.int32))
    column.extend(np.array([0.5], dtype=np.float32))
    assert column.take().tolist() == [2**31 - 1, 0.5]


def test_the_column_does_not_change_what_it_was_given() -> None:
    part = np.array([1, 2], dtype=np.int32)
    column = GrowingColumn()
    column.extend(part)
    column.extend(part)
    column.take()[0] = 9
    assert part.tolist() == [1, 2]


def test_a_column_that_was_given_away_is_empty() -> None:
    column = GrowingColumn()
    column.extend(np.array([1]))
    column.take()
    with pytest.raises(ValueError, match="never filled"):
        column.take()
