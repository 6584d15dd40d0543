from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from training.data.columns import id_column, number_column, time_column
from training.data.tables import Table
from training.errors import BadInputError


def table_of(values: list[Any] | pl.Series) -> Table:
    frame = pl.DataFrame({"ours": pl.Series(values)})
    return Table(Path("log.csv"), frame, {"ours": "theirs"})


def test_integer_ids_become_their_decimal_text() -> None:
    assert id_column(table_of([7, 12]), "ours").to_list() == ["7", "12"]


def test_text_ids_stay_as_they_are() -> None:
    assert id_column(table_of(["007", " a"]), "ours").to_list() == ["007", " a"]


def test_categorical_ids_become_text() -> None:
    ids = id_column(table_of(pl.Series(["b", "a", "b"], dtype=pl.Categorical)), "ours")
    assert ids.dtype == pl.String
    assert ids.to_list() == ["b", "a", "b"]


@pytest.mark.parametrize("ids", [["a", None], ["a", ""], ["a", "  "], [1, None]])
def test_an_empty_id_is_named_by_row_and_column(ids: list[Any]) -> None:
    with pytest.raises(BadInputError) as refusal:
        id_column(table_of(ids), "ours")
    assert str(refusal.value) == (
        "log.csv: data row 2 (counted from 1), column 'theirs': "
        "the id is empty; fill it in or leave the row out"
    )


@pytest.mark.parametrize("odd", ["nan", "NaN", " -Inf", "Infinity", "None", "NULL"])
def test_what_stands_for_no_number_is_no_id_among_numbers(odd: str) -> None:
    with pytest.raises(BadInputError) as refusal:
        id_column(table_of(["7", odd, "12"]), "ours")
    assert str(refusal.value) == (
        f"log.csv: data row 2 (counted from 1), column 'theirs': {odd!r} is no id, all others are "
        "numbers; fill it in or leave the row out"
    )


@pytest.mark.parametrize("ids", [["nan", "inf", "anna"], ["nan", "7", "anna"], ["null", "x-1"]])
def test_among_names_nan_is_a_name(ids: list[str]) -> None:
    assert id_column(table_of(ids), "ours").to_list() == ids


@pytest.mark.parametrize(
    ("ids", "kind"), [([1.0, 2.0], "Float64"), ([True], "Boolean"), ([[1]], "List")]
)
def test_ids_of_another_type_are_refused(ids: list[Any], kind: str) -> None:
    with pytest.raises(
        BadInputError, match=rf"column 'theirs': ids are text or integers, this column holds {kind}"
    ):
        id_column(table_of(ids), "ours")


@pytest.mark.parametrize("values", [["1", " 2.5 "], [1.0, 2.5], [Decimal("1.0"), Decimal("2.5")]])
def test_numbers_are_read_from_text_and_from_any_numeric_type(values: list[Any]) -> None:
    assert number_column(table_of(values), "ours").to_list() == [1.0, 2.5]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (["4", "abc"], "'abc' is no number"),
        (["4", "4,5"], "'4,5' is no number"),
        (["4", "nan"], "'nan' is no finite number"),
        (["4", "-inf"], "'-inf' is no finite number"),
        ([4.0, float("nan")], "nan is no finite number"),
        ([4.0, float("inf")], "inf is no finite number"),
        ([4.0, None], "the cell is empty; fill it in or leave the row out"),
        (["4", None], "the cell is empty; fill it in or leave the row out"),
    ],
)
def test_a_value_that_is_no_number_is_shown_with_its_row(values: list[Any], problem: str) -> None:
    with pytest.raises(BadInputError) as refusal:
        number_column(table_of(values), "ours")
    place = "log.csv: data row 2 (counted from 1), column 'theirs': "
    assert str(refusal.value) == place + problem


def test_a_column_of_nothing_but_blanks_is_refused_by_its_first_row() -> None:
    with pytest.raises(BadInputError, match=r"data row 1 .* the cell is empty"):
        number_column(table_of([None, None]), "ours")


def test_a_column_of_another_type_holds_no_numbers() -> None:
    with pytest.raises(BadInputError, match="numbers are wanted, this column holds Boolean"):
        number_column(table_of([True]), "ours")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3, 5], [3, 5]),
        (["3", " 5"], [3, 5]),
        (["3", "5.5"], [3.0, 5.5]),
        ([3.0, 5.5], [3.0, 5.5]),
        ([date(1970, 1, 1), date(1970, 1, 2)], [0, 86_400_000_000]),
        ([datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)], [1_000_000]),
        (["1970-01-01T00:00:01Z", "1970-01-01T02:00:01+02:00"], [1_000_000, 1_000_000]),
        (["1970-01-01 00:00:01", "1970-01-01"], [1_000_000, 0]),
    ],
)
def test_times_are_numbers_or_dates(values: list[Any], expected: list[float]) -> None:
    times = time_column(table_of(values), "ours")
    assert times.dtype in (pl.Int64, pl.Float64)
    assert times.to_list() == expected


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ([3, None], "the cell is empty"),
        (["3", None], "the cell is empty"),
        ([date(1970, 1, 1), None], "the cell is empty"),
        ([3.0, float("nan")], "nan is no finite number"),
        (["3", "noon"], "'noon' is no number"),
        (["1970-01-01", "noon"], "'noon' is no ISO 8601 time"),
    ],
)
def test_a_value_that_is_no_time_is_named_by_row(values: list[Any], problem: str) -> None:
    with pytest.raises(BadInputError, match=rf"data row 2 \(counted from 1\), .*: {problem}"):
        time_column(table_of(values), "ours")
