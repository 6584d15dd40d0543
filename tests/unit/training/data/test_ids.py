import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.ids import IdCodes, id_order, ranks_of


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["10", "9"], ["9", "10"]),
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
    assert [ids[place] for place in id_order(pl.Series(ids))] == expected


@given(st.sets(st.integers(0, 10**30), min_size=1))
def test_decimal_ids_ascend_as_their_numbers_do(numbers: set[int]) -> None:
    ids = pl.Series([str(number) for number in numbers])
    ascending = [int(id_) for id_ in ids.gather(id_order(ids))]
    assert ascending == sorted(numbers)


def test_a_rank_says_where_in_the_order_a_place_is() -> None:
    order = id_order(pl.Series(["c", "a", "b"]))
    assert order.tolist() == [1, 2, 0]
    assert ranks_of(order).tolist() == [2, 0, 1]


@given(st.lists(st.lists(st.text(max_size=3), max_size=9), max_size=6))
def test_codes_count_ids_in_the_order_of_their_first_rows(parts: list[list[str]]) -> None:
    codes = IdCodes()
    found = [codes.codes_of(pl.Series(part, dtype=pl.String)).tolist() for part in parts]
    different = list(dict.fromkeys(id_ for part in parts for id_ in part))
    assert found == [[different.index(id_) for id_ in part] for part in parts]
    assert codes.ids.to_list() == different
