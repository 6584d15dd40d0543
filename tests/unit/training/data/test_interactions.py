from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data import interactions
from training.data.assembly import log_of
from training.data.interactions import InteractionLog, positives, user_blocks
from training.errors import BadInputError


def rated(*ratings: float) -> InteractionLog:
    users = [f"u{number}" for number in range(len(ratings))]
    frame = pl.DataFrame(
        {"user_id": users, "item_id": users, "rating": [float(r) for r in ratings]}
    )
    return log_of(frame)


@given(
    st.sets(
        st.tuples(st.sampled_from(["9", "10", "1x", "07"]), st.sampled_from(["2", "11", "z"])),
        min_size=1,
    ),
    st.data(),
)
def test_what_is_kept_of_a_log_is_a_log_of_what_is_kept(
    pairs: set[tuple[str, str]], data: st.DataObject
) -> None:
    frame = pl.DataFrame(sorted(pairs), ["user_id", "item_id"], orient="row").with_columns(
        rating=pl.int_range(pl.len()) / 2, timestamp=pl.int_range(pl.len())
    )
    log = log_of(frame)
    kept_N = np.array(data.draw(st.lists(st.booleans(), min_size=len(log), max_size=len(log))))
    kept_N[0] = True  # a log has at least a row
    part, whole = log.where(kept_N), log_of(log.frame.filter(pl.Series(kept_N)))
    assert part.frame.equals(whole.frame)
    assert part.offset_U1.tolist() == whole.offset_U1.tolist()
    assert (part.user_ids.to_list(), part.item_ids.to_list()) == (
        whole.user_ids.to_list(),
        whole.item_ids.to_list(),
    )


def test_rows_are_sorted_by_user_and_item() -> None:
    frame = pl.DataFrame({"user_id": ["10", "9", "10"], "item_id": ["b", "c", "a"]})
    log = log_of(frame.with_columns(weight=pl.Series([1.0, 2.0, 3.0])))
    assert log.user_ids.to_list() == ["9", "10"]
    assert log.item_ids.to_list() == ["a", "b", "c"]
    assert log.offset_U1.tolist() == [0, 1, 3]
    assert log.item_N.tolist() == [2, 0, 1]
    assert log.item_N.dtype == np.int32
    assert log.values["weight"].tolist() == [2.0, 3.0, 1.0]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(1, 20))
def test_users_are_counted_alike_in_blocks_of_any_size(lengths: list[int], rows: int) -> None:
    users = [f"u{user:02}" for user, length in enumerate(lengths) for _ in range(length)]
    log = log_of(pl.DataFrame({"user_id": users, "item_id": [f"i{n}" for n in range(len(users))]}))
    chosen_N = np.arange(len(log)) % 3 > 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interactions, "BLOCK_ROWS", rows)
        blocks = list(user_blocks(log.offset_U1))
        counts = log.counts_U(chosen_N).tolist()
    assert [user for block in blocks for user in range(block.start, block.stop)] == list(
        range(len(lengths))
    )
    assert all(
        log.offset_U1[block.stop] - log.offset_U1[block.start] <= rows
        for block in blocks
        if block.stop - block.start > 1
    )
    starts = log.offset_U1
    assert counts == [
        int(chosen_N[starts[user] : starts[user + 1]].sum()) for user in range(len(lengths))
    ]


def test_a_threshold_between_two_float32_numbers_cuts_as_it_is_written() -> None:
    # 3.3 is not a float32, and neither is 0.1: both ratings are kept in double precision.
    liked, _ = positives(rated(3.3, 3.2999999999, 0.1), 3.3)
    assert liked.frame["rating"].to_list() == [3.3]
    assert liked.values["rating"].dtype == np.float64


def test_half_stars_take_single_precision() -> None:
    assert rated(0.5, 4.5).values["rating"].dtype == np.float32


def test_values_that_nobody_needs_can_be_forgotten() -> None:
    log = rated(1, 5)
    assert "rating" in log
    assert "rating" not in log.without("rating")
    assert isinstance(log, InteractionLog)


def test_without_ratings_all_is_positive() -> None:
    log = log_of(pl.DataFrame({"user_id": ["a"], "item_id": ["b"]}))
    assert positives(log, 3.0) == (log, None)


@pytest.mark.parametrize("lowest", [0.5, 1.0])
def test_on_a_five_star_scale_four_and_more_is_positive(lowest: float) -> None:
    liked, threshold = positives(rated(lowest, 3.5, 4, 5), None)
    assert threshold == 4.0
    assert liked.frame["rating"].to_list() == [4.0, 5.0]


def test_a_threshold_that_is_given_counts() -> None:
    liked, threshold = positives(rated(1, 3, 5), 3.0)
    assert threshold == 3.0
    assert liked.frame["rating"].to_list() == [3.0, 5.0]


def test_the_positive_part_remembers_how_many_duplicates_were_merged() -> None:
    log = replace(rated(1, 5), merged_duplicates=7)
    assert positives(log, None)[0].merged_duplicates == 7


@pytest.mark.parametrize(
    ("ratings", "scale"),
    [((1, 10), "from 1 to 10"), ((0, 5), "from 0 to 5"), ((1, 4.5), "from 1 to 4.5")],
)
def test_another_scale_asks_for_a_threshold(ratings: tuple[float, ...], scale: str) -> None:
    with pytest.raises(BadInputError) as refusal:
        positives(rated(*ratings), None)
    assert str(refusal.value) == (
        f"ratings run {scale}: say with --positive-threshold from where they are a yes"
    )


def test_a_threshold_that_no_rating_reaches_is_refused() -> None:
    with pytest.raises(BadInputError) as refusal:
        positives(rated(1, 5), 6.0)
    assert str(refusal.value) == (
        "ratings run from 1 to 5: none reaches 6; lower --positive-threshold"
    )
