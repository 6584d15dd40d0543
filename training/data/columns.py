"""Columns as ids, numbers and times: brought to one type, or refused by row."""

from typing import Final

import polars as pl

from training.data.tables import Table

MISSING: Final = "the cell is empty; fill it in or leave the row out"
# What other tools write where a number is missing; a name can be one of these, a number cannot.
NOT_A_NUMBER: Final = frozenset({"nan", "inf", "-inf", "infinity", "-infinity", "none", "null"})
TEXT_TYPES: Final = (pl.String, pl.Categorical, pl.Enum)


def id_column(table: Table, column: str) -> pl.Series:
    """Give ids as text: integers become their decimal text, text stays as it is.

    Raises:
        BadInputError: An id is missing or blank, is "nan" or the like where all others are
            numbers, or the column is neither text nor integers.
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
    if _is_text(raw):
        _refuse_no_number(table, column, text)
    return text


def _refuse_no_number(table: Table, column: str, text: pl.Series) -> None:
    ids = text.unique()
    odd = ids.filter(ids.str.strip_chars().str.to_lowercase().is_in(list(NOT_A_NUMBER)))
    if len(odd) and ids.filter(~ids.is_in(odd.implode())).str.contains(r"^\d+$").all():
        table.refuse_where(
            text.is_in(odd.implode()),
            column,
            "{value} is no id, all others are numbers; fill it in or leave the row out",
        )


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


def time_column(table: Table, column: str) -> pl.Series:
    """Give times that compare: numbers as they are, dates as Int64 microseconds since 1970 UTC.

    Returns:
        Int64, or Float64 where a number has a fraction.

    Raises:
        BadInputError: A value is missing, or neither a number nor an ISO 8601 time.
    """
    raw = table.frame[column]
    if raw.dtype.is_integer() or raw.dtype in (pl.Datetime, pl.Date):
        table.refuse_where(raw.is_null(), column, MISSING)
        return raw.cast(pl.Int64) if raw.dtype.is_integer() else raw.dt.epoch("us")
    if _is_text(raw):
        whole = _trimmed(raw).cast(pl.Int64, strict=False)
        if not whole.has_nulls():
            return whole
        times = _trimmed(raw).str.to_datetime(time_unit="us", time_zone="UTC", strict=False)
        if times.count():
            table.refuse_where(times.is_null(), column, "{value} is no ISO 8601 time")
            return times.dt.epoch("us")
    return number_column(table, column)


def _trimmed(raw: pl.Series) -> pl.Series:
    return raw.cast(pl.String).str.strip_chars()


def _is_text(raw: pl.Series) -> bool:
    return raw.dtype in TEXT_TYPES or raw.dtype == pl.Null  # a column of nothing but blanks
