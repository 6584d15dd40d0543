"""JSON Lines: one object a line, each column of one type, and the first line that breaks this."""

from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple, final

import orjson
import polars as pl

# JSON has one kind of number: 4 and 4.5 may stand in one column.
_KIND_OF = {str: "text", int: "a number", float: "a number", bool: "a boolean", list: "a list"}


@final
class Fault(NamedTuple):
    """A row that cannot be read.

    Attributes:
        row: Counted from 1; blank lines are no rows.
        column: Its name in the file, where one column is to blame.
        problem: What is wrong, as the end of a sentence about the row.
    """

    row: int
    column: str | None
    problem: str


def read_json_lines(path: Path) -> pl.DataFrame:
    """Read every line before deciding on types: a column may begin in the last one.

    Raises:
        polars.exceptions.PolarsError: Some line is broken; ``first_fault`` finds it.
    """
    with path.open("rb") as file:  # a path would be taken for a glob: "log[1].jsonl"
        return pl.read_ndjson(file, infer_schema_length=None)


def first_fault(path: Path, columns: Collection[str]) -> Fault | None:
    """Find the first line that is no object, or has another type in a column than those above it.

    Polars turns the numbers of a mixed column into text without a word, hence this second look.

    Args:
        path: The file.
        columns: Names in the file; the others may hold what they like.
    """
    kind_of: dict[str, str] = {}
    with path.open("rb") as file:
        lines = (line for line in file if line.strip())
        for row, line in enumerate(lines, start=1):
            try:
                record = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                return Fault(row, None, f"is no JSON ({error})")
            if not isinstance(record, dict):
                return Fault(row, None, "is no JSON object")
            fault = _changed_type(row, record, columns, kind_of)
            if fault is not None:
                return fault
    return None


def _changed_type(
    row: int, record: dict[str, Any], columns: Collection[str], kind_of: dict[str, str]
) -> Fault | None:
    for column in columns:
        value = record.get(column)
        if value is None:
            continue
        kind = _KIND_OF.get(type(value), "an object")
        above = kind_of.setdefault(column, kind)
        if kind != above:
            return Fault(row, column, f"{value!r} is {kind}, the rows above have {above}")
    return None
