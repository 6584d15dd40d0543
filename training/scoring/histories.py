"""Histories to score: one row a user, checked, in our columns, out of either form of input."""

from collections.abc import Mapping
from typing import Final

import polars as pl

from training.scoring.values import FAULTS_OF, NUMBERS, Kind, Place

# The lists of a row are equally long; null in place of one: no entry of the row has a value.
SCHEMA: Final[Mapping[str, pl.DataType]] = {
    "user_id": pl.String(),
    "item_ids": pl.List(pl.String()),
    "ratings": pl.List(pl.Float64()),
    "weights": pl.List(pl.Float64()),
}
LIST_OF: Final = {"item_id": "item_ids", "rating": "ratings", "weight": "weights"}


def one_row_a_user(frame: pl.DataFrame, place: Place) -> pl.DataFrame:
    """Bring rows with ``user_id`` and ``history`` into our columns.

    Args:
        frame: ``history`` holds ids, or structs with ``item_id``, ``rating`` and ``weight``, as
            a request to ``/recommend`` does. Null is an empty history.
        place: Of the rows.

    Raises:
        BadInputError: An id is missing or no id, a number no number.
    """
    place.refuse_no_ids("user_id", frame.schema["user_id"])
    lists = frame.select(pl.col("user_id").cast(pl.String), **_columns_of(frame, place))
    for name in lists.columns:
        for fault in FAULTS_OF[name]:
            if name == "user_id":
                place.refuse_where(lists, fault.of(pl.col(name)), name, fault.problem)
            else:
                bad = pl.col(name).list.eval(fault.of(pl.element())).list.any()
                place.refuse_where(lists, bad, "history", fault.problem)
    return _in_our_columns(lists)


def entries_of_a_log(frame: pl.DataFrame, place: Place) -> pl.DataFrame:
    """Type and check the rows of a log: text for ids, Float64 for numbers.

    Args:
        frame: ``user_id``, ``item_id`` and perhaps ``rating`` and ``weight``; others stay.
        place: Of the rows.

    Raises:
        BadInputError: An id is missing or no id, a number no number.
    """
    for name in FAULTS_OF:
        if name not in frame.columns:
            continue
        typed = pl.col(name).cast(pl.String)
        if name in NUMBERS:
            typed = _numbers(frame, name, place)
        else:
            place.refuse_no_ids(name, frame.schema[name])
        frame = frame.with_columns(typed)
        for fault in FAULTS_OF[name]:
            place.refuse_where(frame, fault.of(pl.col(name)), name, fault.problem)
    return frame


def gathered(entries: pl.DataFrame) -> pl.DataFrame:
    """Bring the checked rows of a log together, those of a user in one row.

    Args:
        entries: As ``entries_of_a_log`` gives them, with their ``row`` in the log, sorted by it.

    Returns:
        Our columns, and in ``row`` the first of a user, by which they are sorted.
    """
    lists = [pl.col(name) for name in LIST_OF if name in entries.columns]
    users = entries.group_by("user_id", maintain_order=True).agg(pl.col("row").first(), *lists)
    return _in_our_columns(users).with_columns(users["row"])


def _columns_of(frame: pl.DataFrame, place: Place) -> dict[str, pl.Expr]:
    """Give the lists of entries' ids, ratings and weights, as far as they are there."""
    column, kind = pl.col("history"), frame.schema["history"]
    if kind == pl.Null:
        return {"item_id": column.cast(pl.List(pl.String))}
    if not isinstance(kind, pl.List):
        raise place.error("history", f"lists of items are wanted, this column holds {kind}")
    if not isinstance(kind.inner, pl.Struct):
        place.refuse_no_ids("history", kind.inner)
        return {"item_id": column.cast(pl.List(pl.String))}
    kind_of: Mapping[str, Kind] = {field.name: field.dtype for field in kind.inner.fields}
    if "item_id" not in kind_of:
        raise place.error("history", f"its entries have no item_id, but {', '.join(kind_of)}")
    place.refuse_no_ids("history", kind_of["item_id"])
    for name in NUMBERS:
        kind_of_name = kind_of.get(name, pl.Null)
        place.refuse_no_numbers("history", kind_of_name, f"{name!r} of its entries")
    return {
        name: column.list.eval(pl.element().struct.field(name)).cast(SCHEMA[ours])
        for name, ours in LIST_OF.items()
        if name in kind_of
    }


def _numbers(frame: pl.DataFrame, name: str, place: Place) -> pl.Expr:
    """Read numbers, of text as well as typed ones; a blank text is none."""
    if frame.schema[name] != pl.String:
        place.refuse_no_numbers(name, frame.schema[name])
        return pl.col(name).cast(pl.Float64)
    text = pl.col(name).str.strip_chars()
    number = text.cast(pl.Float64, strict=False)
    place.refuse_where(frame, number.is_null() & (text != ""), name, "a value is no number")
    return number


def _in_our_columns(lists: pl.DataFrame) -> pl.DataFrame:
    columns = [pl.col("user_id"), pl.col("item_id").fill_null([]).alias("item_ids")]
    for name in NUMBERS:
        ours = LIST_OF[name]
        kept = pl.col(name) if name in lists.columns else pl.lit(None)
        columns.append(kept.cast(SCHEMA[ours]).alias(ours))
    return lists.select(columns)
