"""The first row that breaks a CSV file: too many fields, or a quote where none may stand."""

import csv
import gzip
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

from training.data.watched_file import GZIP_MAGIC
from training.errors import BadInputError


def refuse_broken_row(path: Path, separator: str) -> None:
    """Look for the row that a reader of the whole file has stumbled over.

    Raises:
        BadInputError: It is found, or the file is packed and cut short.
    """
    try:
        with path.open("rb") as file:
            is_packed = path.suffix.lower() == ".gz" or file.read(2) == GZIP_MAGIC
        opened = gzip.open if is_packed else open
        with opened(path, "rt", encoding="utf-8", errors="replace", newline="") as file:
            problem = _first_problem(file, separator)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BadInputError(
            f"{path}: no whole gzip file ({error}); was the copy cut short? Copy it again"
        ) from error
    except (csv.Error, OSError):
        return  # not the reason: the caller tells what Polars said
    if problem:
        raise BadInputError(f"{path}: {problem}")


def _first_problem(file: TextIO, separator: str) -> str:
    lines: list[str] = []  # of the present row
    rows = csv.reader(_kept(file, lines), delimiter=separator)
    num_columns = len(next(rows, []))
    field = rf'(?:"[^"]*(?:""[^"]*)*"|[^"{re.escape(separator)}]*)'
    whole = re.compile(rf"{field}(?:{re.escape(separator)}{field})*\r?\n?")
    lines.clear()
    for row, fields in enumerate(rows, start=1):
        text = "".join(lines)
        lines.clear()
        if len(fields) > num_columns:
            return (
                f"data row {row} (counted from 1) has {len(fields)} fields, the header "
                f"{num_columns}; put text that holds {separator!r} in double quotes"
            )
        if '"' in text and not whole.fullmatch(text):
            return (
                f"data row {row} (counted from 1) has a quote that is not closed, or one amid "
                "text; put such text in double quotes, and write each quote in it twice"
            )
    return ""


def _kept(lines: Iterable[str], kept: list[str]) -> Iterator[str]:
    for line in lines:
        kept.append(line)
        yield line
