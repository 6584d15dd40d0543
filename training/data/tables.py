"""Tables in files: CSV, TSV, JSON Lines or Parquet in, the columns we want out, by our names.

Knows nothing of what the columns mean. A refusal is one line that names the file and, where it
can, the row and the column; rows are counted from 1, a header is no row.
"""

import csv
import gzip
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import polars as pl
from polars.exceptions import PanicException, PolarsError

from training.data.json_lines import first_fault, read_json_lines
from training.errors import BadInputError

SEPARATORS: Final = {".csv": ",", ".csv.gz": ",", ".tsv": "\t", ".tsv.gz": "\t"}
JSON_LINES: Final = (".jsonl", ".ndjson")
PARQUET: Final = ".parquet"
GLOB_LETTERS: Final = frozenset("*?[")
LONGEST_VALUE: Final = 60  # characters of a cell that a message repeats
FORMATS: Final = (*SEPARATORS, *JSON_LINES, PARQUET)


@final
@dataclass(frozen=True, slots=True)
class Table:
    """A file that was read.

    Attributes:
        path: The file.
        frame: The wanted columns that it has, by our names; typed as in the file, text from CSV.
        name_of: What the file calls each of them.
    """

    path: Path
    frame: pl.DataFrame
    name_of: Mapping[str, str]

    def refuse_where(self, bad: pl.Series, column: str, problem: str) -> None:
        """Refuse the table if a row is bad, naming the first.

        Args:
            bad: Boolean, one a row; null is not bad.
            column: Our name of the column to blame.
            problem: What is wrong; ``{value}`` stands for what the cell holds.

        Raises:
            BadInputError: A row is bad.
        """
        rows = bad.arg_true()
        if len(rows):
            value = repr(self.frame[column][rows[0]])
            shown = value if len(value) <= LONGEST_VALUE else value[:LONGEST_VALUE] + "..."
            raise self.error(problem.format(value=shown), column, rows[0] + 1)

    def error(self, problem: str, column: str, row: int | None = None) -> BadInputError:
        """Make the error that names a place in the table; ``row`` counts from 1."""
        where = "" if row is None else f"data row {row} (counted from 1), "
        return BadInputError(f"{self.path}: {where}column {self.name_of[column]!r}: {problem}")


def find_files(source: Path) -> list[Path]:
    """Give the files that a source means: itself, the matches of a glob, a folder's Parquet files.

    Raises:
        BadInputError: It means none.
    """
    if source.is_file():
        return [source]
    if source.is_dir():
        found = sorted(source.rglob(f"*{PARQUET}"))
        if not found:
            raise BadInputError(
                f"{source}: no {PARQUET} file in this folder; name a file or a glob"
            )
        return found
    if not is_glob(source):
        raise BadInputError(f"{source}: no such file or folder")
    root = Path(source.anchor)
    try:
        found = sorted(path for path in root.glob(str(source.relative_to(root))) if path.is_file())
    except ValueError as error:
        raise BadInputError(f"{source}: {error}") from error
    if not found:
        raise BadInputError(f"{source}: no file matches")
    return found


def is_glob(source: Path) -> bool:
    """Tell whether a path is a pattern for several."""
    return not GLOB_LETTERS.isdisjoint(str(source))


def read_table(
    path: Path,
    required: Sequence[str],
    optional: Sequence[str],
    renamed: Mapping[str, str],
    either: Collection[str] = (),
) -> Table:
    """Read the columns that we want and the file has.

    Args:
        path: A file whose name ends in one of ``FORMATS``.
        required: Our names of columns that must be there.
        optional: Our names of columns that may be there.
        renamed: What the file calls columns, where it differs from our names. A column named here
            must be there.
        either: Our names of renamed columns that may have kept our name.

    Raises:
        BadInputError: No such file, an unknown or a broken one, or one that lacks a column.
    """
    form = _format_of(path)
    names = {ours: renamed.get(ours, ours) for ours in (*required, *optional)}
    try:
        lazy = _scan(path, form)
        present = lazy.collect_schema().names()
        for ours in either:
            names[ours] = names[ours] if names[ours] in present else ours
        name_of = {ours: name for ours, name in names.items() if name in present}
        frame = lazy.select(pl.col(name).alias(ours) for ours, name in name_of.items()).collect()
    except (PolarsError, PanicException, OSError) as error:
        raise _broken(path, form, list(names.values()), error) from error
    for ours in (*required, *renamed):
        if ours not in name_of:
            raise _missing(path, ours, names[ours], present)
    if form in JSON_LINES and pl.String in frame.dtypes:
        _refuse_json_fault(path, list(name_of.values()))
    return Table(path, frame, name_of)


def _format_of(path: Path) -> str:
    if not path.is_file():
        raise BadInputError(f"{path}: no such file")
    form = next((form for form in FORMATS if path.name.lower().endswith(form)), None)
    if form is None:
        raise BadInputError(f"{path}: unknown kind of file; known are {' '.join(FORMATS)}")
    if path.stat().st_size == 0:
        raise BadInputError(f"{path}: the file is empty")
    return form


def _scan(path: Path, form: str) -> pl.LazyFrame:
    if form == PARQUET:
        return pl.scan_parquet(path, glob=False, hive_partitioning=False)
    if form in JSON_LINES:
        return read_json_lines(path).lazy()
    # All as text, so that the id "007" stays as it is. Eager: with fewer columns to read than the
    # file has, Polars takes a line with too many fields without a word.
    separator = SEPARATORS[form]
    return pl.read_csv(path, separator=separator, infer_schema=False, glob=False).lazy()


def _missing(path: Path, ours: str, name: str, present: Sequence[str]) -> BadInputError:
    return BadInputError(
        f"{path}: no column {name!r}; there are: {', '.join(present)}; "
        f"say which one it is with --columns {ours}=NAME"
    )


def _broken(path: Path, form: str, names: Sequence[str], error: BaseException) -> BadInputError:
    reason = str(error).partition("\n")[0]
    if form == PARQUET:
        return BadInputError(
            f"{path}: no whole Parquet file ({reason}); was the copy cut short? Copy it again"
        )
    if form in JSON_LINES:
        _refuse_json_fault(path, names)
    else:
        _refuse_ragged_row(path, SEPARATORS[form])
    return BadInputError(f"{path}: cannot be read as {form}: {reason}")


def _refuse_json_fault(path: Path, names: Sequence[str]) -> None:
    fault = first_fault(path, names)
    if fault is not None:
        column = "" if fault.column is None else f", column {fault.column!r}:"
        raise BadInputError(
            f"{path}: data row {fault.row} (counted from 1){column} {fault.problem}; "
            "write one JSON object a line, with one type a column"
        )


def _refuse_ragged_row(path: Path, separator: str) -> None:
    is_packed = path.suffix.lower() == ".gz"
    opened = gzip.open if is_packed else open
    try:
        with opened(path, "rt", encoding="utf-8", errors="replace", newline="") as file:
            rows = csv.reader(file, delimiter=separator)
            num_columns = len(next(rows, []))
            for row, fields in enumerate(rows, start=1):
                if len(fields) > num_columns:
                    raise BadInputError(
                        f"{path}: data row {row} (counted from 1) has {len(fields)} fields, the "
                        f"header {num_columns}; put text that holds {separator!r} in double quotes"
                    )
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BadInputError(
            f"{path}: no whole gzip file ({error}); was the copy cut short? Copy it again"
        ) from error
    except (csv.Error, OSError):
        return  # not the reason: the caller tells what Polars said
