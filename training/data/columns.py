"""Columns as ids, numbers and times: brought to one type, or refused by row."""

from typing import Final, final

import polars as pl

from training.data.tables import Table

MISSING: Final = "the cell is empty; fill it in or leave the row out"
# What other tools write where a number is missing; a name can be one of these, a number cannot.
NOT_A_NUMBER: Final = frozenset({"nan", "inf", "-inf", "infinity", "-infinity", "none", "null"})
NO_DATE: Final = "{value} is no ISO 8601 time"
TOO_LATE: Final = "{value} is no time: a number of 64 bits with a sign does not hold it"
ODD_ID: Final = "{value} is no id, all others are numbers; fill it in or leave the row out"
TEXT_TYPES: Final = (pl.String, pl.Categorical, pl.Enum)


def id_column(table: Table, column: str) -> pl.Series:
    """Give the ids of a whole file as text: integers as their decimal text, text as it is.

    Raises:
        BadInputError: An id is missing or blank, is "nan" or the like where all others are
            numbers, or the column is neither text nor integers.
    """
    text = id_text(table, column)
    odd = odd_ids(text.unique())
    table.refuse_where(text.is_in(odd.implode()), column, ODD_ID)
    return text


def id_text(table: Table, column: str) -> pl.Series:
    """Give ids as ``id_column`` does, of a part of a file: "nan" may yet turn out to be a name.

    Raises:
        BadInputError: An id is missing or blank, or the column is neither text nor integers.
    """
    raw = table.frame[column]
    if raw.dtype == pl.Boolean or not (_is_text(raw) or raw.dtype.is_integer()):
        raise table.error(
            f"ids are text or integers, this column holds {raw.dtype}; write it as one of them "
            "(an empty cell can turn integers into decimals)",
            column,
        )
    text = raw.cast(pl.String)
    blank = text.is_null() | (text.str.strip_chars() == "")
    table.refuse_where(blank, column, "the id is empty; fill it in or leave the row out")
    return text


def odd_ids(ids: pl.Series) -> pl.Series:
    """Find "nan" and the like among different ids that are else numbers; none among names."""
    odd = ids.filter(ids.str.strip_chars().str.to_lowercase().is_in(list(NOT_A_NUMBER)))
    others = ids.filter(~ids.is_in(odd.implode()))
    return odd if len(odd) and others.str.contains(r"^\d+$").all() else ids.clear()


def number_column(table: Table, column: str) -> pl.Series:
    """Give finite Float64 numbers.

    Raises:
        BadInputError: A value is missing, no number, NaN or infinite.
    """
    raw = table.frame[column]
    table.refuse_where(raw.is_null(), column, MISSING)
    if _is_text(raw):
        number = _trimmed(raw).cast(pl.Float64, strict=False)
        table.refuse_where(number.is_null(), column, "{value} is no number")
    elif raw.dtype.is_numeric():
        number = raw.cast(pl.Float64)
    else:
        raise table.error(f"numbers are wanted, this column holds {raw.dtype}", column)
    table.refuse_where(~number.is_finite(), column, "{value} is no finite number")
    return number


@final
class TimeReader:
    """The times of a log, part by part: numbers as they are, dates as microseconds.

    All are numbers or all are dates; those of one file are written in one way.
    """

    def __init__(self) -> None:
        self._first_kind: tuple[str, str] | None = None  # and the file that has it
        self.begin_file()

    def begin_file(self) -> None:
        """Go on with another file."""
        self._first_date: pl.Series | None = None  # one value; none as long as there is none
        self._first_number: Table | None = None  # one row

    def read(self, table: Table, column: str) -> pl.Series:
        """Give times that compare.

        Returns:
            Int64, dates as microseconds since 1970 UTC, or Float64 where a number has a fraction.

        Raises:
            BadInputError: A value is missing, or neither a number nor an ISO 8601 time, or it is
                the one where the log began with the other.
        """
        raw = table.frame[column]
        if raw.dtype.is_integer() or raw.dtype in (pl.Datetime, pl.Date):
            table.refuse_where(raw.is_null(), column, MISSING)
            times = _whole(table, column) if raw.dtype.is_integer() else raw.dt.epoch("us")
        else:
            is_text = _is_text(raw)
            times = self._read_text(table, column) if is_text else number_column(table, column)
        if table.frame.height:
            are_dates = raw.dtype.is_temporal() or self._first_date is not None
            self._refuse_other_kind(table, column, "dates" if are_dates else "numbers")
        return times

    def _refuse_other_kind(self, table: Table, column: str, kind: str) -> None:
        if self._first_kind is None:
            self._first_kind = (kind, str(table.path))
        first_kind, path = self._first_kind
        if kind != first_kind:
            raise table.error(
                f"mixed types: {kind} in one file, {first_kind} in the other ({path}); "
                "write them alike",
                column,
            )

    def _read_text(self, table: Table, column: str) -> pl.Series:
        text = _trimmed(table.frame[column])
        if self._first_date is None:
            whole = text.cast(pl.Int64, strict=False)
            if whole.has_nulls() and self._dates(text).count():
                self._begin_with_date(text, column)
            else:
                self._first_number = self._first_number or _first_row(table)
                return number_column(table, column) if whole.has_nulls() else whole
        dates = self._dates(text)
        table.refuse_where(dates.is_null(), column, NO_DATE)
        return dates.dt.epoch("us")

    def _begin_with_date(self, text: pl.Series, column: str) -> None:
        if self._first_number is not None:
            self._first_number.refuse_where(pl.Series([True]), column, NO_DATE)
        self._first_date = text.drop_nulls().head(1)

    def _dates(self, text: pl.Series) -> pl.Series:
        """Read dates; those of a later part are written as the first one of the file is."""
        first = text.clear() if self._first_date is None else self._first_date
        read = pl.concat([first, text]).str.to_datetime(
            time_unit="us", time_zone="UTC", strict=False
        )
        return read.slice(len(first))


def _whole(table: Table, column: str) -> pl.Series:
    whole = table.frame[column].cast(pl.Int64, strict=False)
    table.refuse_where(whole.is_null(), column, TOO_LATE)
    return whole


def _first_row(table: Table) -> Table:
    return Table(table.path, table.frame.head(1), table.name_of, table.rows_before)


def _trimmed(raw: pl.Series) -> pl.Series:
    return raw.cast(pl.String).str.strip_chars()


def _is_text(raw: pl.Series) -> bool:
    return raw.dtype in TEXT_TYPES or raw.dtype == pl.Null  # a column of nothing but blanks
