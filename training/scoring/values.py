"""Ids and numbers of histories: what they may be, and the refusal that names where they are not."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import polars as pl
from polars.datatypes import DataTypeClass

from service.histories import MAX_WEIGHT, MIN_WEIGHT
from training.errors import BadInputError

Kind = pl.DataType | DataTypeClass
NUMBERS: Final = ("rating", "weight")


@final
@dataclass(frozen=True, slots=True)
class Place:
    """Where rows come from, for refusals.

    Attributes:
        path: The file.
        name_of: What it calls our columns.
        rows: The data row in it of each of the rows, counted from 0.
    """

    path: Path
    name_of: Mapping[str, str]
    rows: Sequence[int]

    def error(self, column: str, problem: str, row: int | None = None) -> BadInputError:
        """Make the error that names a column of ours and, counted from 0, one of the rows."""
        where = "" if row is None else f"data row {self.rows[row] + 1} (counted from 1), "
        return BadInputError(f"{self.path}: {where}column {self.name_of[column]!r}: {problem}")

    def refuse_where(self, frame: pl.DataFrame, bad: pl.Expr, column: str, problem: str) -> None:
        """Refuse the rows if one of them is bad, naming the first; null is not bad.

        Raises:
            BadInputError: A row is bad.
        """
        rows = frame.select(bad.fill_null(value=False)).to_series().arg_true()
        if len(rows):
            raise self.error(column, problem, rows[0])

    def refuse_no_ids(self, column: str, kind: Kind) -> None:
        """Refuse a column whose type is not that of ids.

        Raises:
            BadInputError: It holds neither text nor integers.
        """
        is_text = kind in (pl.String, pl.Categorical, pl.Enum, pl.Null)
        if not (is_text or kind.is_integer()):
            raise self.error(column, f"ids are text or integers, this column holds {kind}")

    def refuse_no_numbers(self, column: str, kind: Kind, what: str = "this column") -> None:
        """Refuse a column, or what of it is named, whose type is not that of numbers.

        Raises:
            BadInputError: It holds something else.
        """
        if not (kind.is_numeric() or kind == pl.Null):
            raise self.error(column, f"numbers are wanted, {what} holds {kind}")


@final
@dataclass(frozen=True, slots=True)
class Fault:
    """What a value may not be.

    Attributes:
        of: Makes the test of values that finds it.
        problem: What to say then.
    """

    of: Callable[[pl.Expr], pl.Expr]
    problem: str


_IDS: Final = (
    Fault(
        lambda value: value.is_null() | (value.str.strip_chars() == ""),
        "an id is empty; fill it in or leave it out",
    ),
    # Where a JSON Lines file has both, Polars turns the objects into text without a word.
    Fault(
        lambda value: value.str.starts_with('{"'),
        "an object stands where others are plain ids; write all of a file alike",
    ),
)
# A number that is missing is none of these: the entry is not rated, and weighs 1.
FAULTS_OF: Final[Mapping[str, tuple[Fault, ...]]] = {
    "user_id": _IDS,
    "item_id": _IDS,
    "rating": (Fault(lambda value: ~value.is_finite(), "a rating is a finite number"),),
    "weight": (
        Fault(
            lambda value: ~value.is_between(MIN_WEIGHT, MAX_WEIGHT),
            f"weights are {MIN_WEIGHT:g} to {MAX_WEIGHT:,.0f}",
        ),
    ),
}
