from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from training.data.columns import TimeReader, id_column, id_text, number_column
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
    times = TimeReader().read(table_of(values), "ours")
    assert times.dtype in (pl.Int64, pl.Float64)
    assert times.to_list() == expected


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ([3, None], "the cell is empty"),
        (["3", None], "the cell is empty"),
        ([date(1970, 1, 1), None], "the cell is empty"),
        ([3.0, float("nan")], "nan is no finite number"),
        (pl.Series([3, 2**63], dtype=pl.UInt64), "9223372036854775808 is no time: a number of 64"),
        (["3", "noon"], "'noon' is no number"),
        (["1970-01-01", "noon"], "'noon' is no ISO 8601 time"),
    ],
)
def test_a_value_that_is_no_time_is_named_by_row(
    values: list[Any] | pl.Series, problem: str
) -> None:
    with pytest.raises(BadInputError, match=rf"data row 2 \(counted from 1\), .*: {problem}"):
        TimeReader().read(table_of(values), "ours")


def parts_of(*parts: list[Any]) -> list[Table]:
    return [
        Table(Path("log.csv"), pl.DataFrame({"ours": part}), {"ours": "theirs"}, 2 * number)
        for number, part in enumerate(parts)
    ]


def read_parts(*parts: list[Any]) -> list[float]:
    reader = TimeReader()
    return [time for part in parts_of(*parts) for time in reader.read(part, "ours").to_list()]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ((["3", "4"], ["5.5", "6"]), [3, 4, 5.5, 6]),
        ((["5.5", "6"], ["3", "4"]), [5.5, 6, 3, 4]),
        ((["1970-01-01", "1970-01-02"], ["1970-01-03"]), [0, 86_400e6, 172_800e6]),
        (([date(1970, 1, 1)], [date(1970, 1, 2)]), [0, 86_400e6]),
    ],
)
def test_times_of_many_parts_are_read_alike(
    parts: tuple[list[Any], ...], expected: list[float]
) -> None:
    assert read_parts(*parts) == expected


@pytest.mark.parametrize(
    ("parts", "row", "problem"),
    [
        ((["3", "4"], ["1970-01-01", "1970-01-02"]), 1, "'3' is no ISO 8601 time"),
        ((["3.5", "4"], ["1970-01-01", "1970-01-02"]), 1, "'3.5' is no ISO 8601 time"),
        ((["1970-01-01", "1970-01-02"], ["1970-01-03", "7"]), 4, "'7' is no ISO 8601 time"),
        ((["1970-01-01", "1970-01-02"], ["7", "8"]), 3, "'7' is no ISO 8601 time"),
        ((["1970-01-01", "1970-01-02"], ["1970-01-03", None]), 4, "None is no ISO 8601 time"),
        ((["3", "4"], ["5", "noon"]), 4, "'noon' is no number"),
    ],
)
def test_a_file_that_changes_its_way_of_telling_time_is_refused(
    parts: tuple[list[Any], ...], row: int, problem: str
) -> None:
    with pytest.raises(BadInputError, match=rf"data row {row} \(counted from 1\), .*: {problem}"):
        read_parts(*parts)


def test_a_later_part_writes_its_dates_as_the_first_one_does() -> None:
    # Alone, each part could be read: together they are one column with two ways of writing.
    with pytest.raises(BadInputError, match=r"row 2 .*'1970-01-02T10:00:00Z' is no ISO 8601 time"):
        read_parts(["1970-01-01", "1970-01-02T10:00:00Z"])
    with pytest.raises(BadInputError, match=r"row 3 .*'1970-01-02T10:00:00Z' is no ISO 8601 time"):
        read_parts(["1970-01-01", "1970-01-01"], ["1970-01-02T10:00:00Z"])


def test_in_a_part_of_a_file_nan_may_be_a_name() -> None:
    assert id_text(table_of(["nan", "7"]), "ours").to_list() == ["nan", "7"]
