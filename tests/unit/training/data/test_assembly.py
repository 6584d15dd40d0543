import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data import assembly
from training.data.assembly import log_of, part_codes
from training.errors import BadInputError

ROWS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3), st.integers(1, 9)),
    min_size=1,
    max_size=60,
)


@given(ROWS, st.integers(1, 9), st.booleans())
def test_of_each_pair_the_latest_row_is_left_with_all_weight_in_blocks_of_any_size(
    rows: list[tuple[int, int, int, int]], block_rows: int, has_time: bool
) -> None:
    frame = pl.DataFrame(rows, ["user_id", "item_id", "timestamp", "weight"], orient="row")
    frame = frame.with_columns(
        pl.col("user_id", "item_id").cast(pl.String),
        pl.col("weight").cast(pl.Float64),
        rating=pl.int_range(pl.len()).cast(pl.Float64),
    )
    frame = frame if has_time else frame.drop("timestamp")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assembly, "BLOCK_ROWS", block_rows)
        log = log_of(frame)
    ordered = frame.sort("timestamp", maintain_order=True) if has_time else frame
    expected = (
        ordered.group_by("user_id", "item_id", maintain_order=True)
        .agg(pl.last("rating"), pl.sum("weight"))
        .sort("user_id", "item_id")
    )
    assert log.frame.select("user_id", "item_id", "rating", "weight").rows() == expected.rows()
    assert log.merged_duplicates == len(rows) - expected.height


def test_a_pair_in_two_parts_is_named_by_its_first_row() -> None:
    rows = [("b", "1", "train"), ("a", "2", "train"), ("a", "2", "test"), ("a", "3", "train")]
    rows += [("b", "1", "test")]
    frame = pl.DataFrame(rows, ["user_id", "item_id", "split"], orient="row")
    with pytest.raises(BadInputError, match="row 1: user 'b' has item '1' in two parts"):
        log_of(frame)


def test_a_pair_that_is_twice_in_one_part_is_merged() -> None:
    frame = pl.DataFrame({"user_id": ["a"] * 2, "item_id": ["1"] * 2, "split": ["test"] * 2})
    assert log_of(frame).frame.rows() == [("a", "1", "test")]


def test_an_unknown_part_has_no_code() -> None:
    assert part_codes(pl.Series(["test", "train", "Train", None])).tolist() == [2, 0, -1, -1]
