import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.events import Events, sorted_ids
from training.data.interactions import InteractionLog


def events_of(**columns: list[str] | list[float]) -> Events:
    return Events.from_log(InteractionLog(pl.DataFrame(columns)))[0]


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["10", "9", "10"], ["9", "10"]),
        (["10", "9", "a"], ["10", "9", "a"]),
        (["7", "007", "0", "12"], ["0", "007", "7", "12"]),
        (["1" + "0" * 40, "9" * 40], ["9" * 40, "1" + "0" * 40]),
        (["-1", "2"], ["-1", "2"]),
        (["b", "", "B"], ["", "B", "b"]),
    ],
)
def test_ids_ascend_by_value_if_all_are_decimal_else_as_text(
    ids: list[str], expected: list[str]
) -> None:
    assert sorted_ids(pl.Series(ids)).to_list() == expected


@given(st.lists(st.integers(0, 10**30), min_size=1))
def test_decimal_ids_ascend_as_their_numbers_do(numbers: list[int]) -> None:
    ids = sorted_ids(pl.Series([str(number) for number in numbers]))
    assert [int(id_) for id_ in ids] == sorted(set(numbers))


def test_events_are_sorted_by_user_and_item() -> None:
    events = events_of(user_id=["10", "9", "10"], item_id=["b", "c", "a"], weight=[1.0, 2.0, 3.0])
    assert events.user_ids.to_list() == ["9", "10"]
    assert events.item_ids.to_list() == ["a", "b", "c"]
    assert events.user_N.tolist() == [0, 1, 1]
    assert events.item_N.tolist() == [2, 0, 1]
    assert events.weight_N.tolist() == [2.0, 3.0, 1.0]
    assert events.weight_N.dtype == np.float32


def test_without_a_weight_column_each_event_weighs_one() -> None:
    assert events_of(user_id=["a", "b"], item_id=["x", "y"]).weight_N.tolist() == [1.0, 1.0]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(0, 2**32))
def test_random_ranks_number_every_users_events_from_zero(lengths: list[int], seed: int) -> None:
    users = [f"u{user}" for user, length in enumerate(lengths) for _ in range(length)]
    events = events_of(user_id=users, item_id=[f"i{number}" for number in range(len(users))])
    rank_N = events.random_ranks(np.random.default_rng(seed))
    for user, length in enumerate(lengths):
        assert sorted(rank_N[events.user_N == user]) == list(range(length))


def test_random_ranks_are_fair() -> None:
    events = events_of(user_id=["a"] * 4 + ["b"] * 4, item_id=list("stuvwxyz"))
    generator = np.random.default_rng(1)
    first_N = sum((events.random_ranks(generator) == 0).astype(int) for _ in range(4000))
    assert np.all(np.abs(first_N - 1000) < 150)  # five standard deviations
