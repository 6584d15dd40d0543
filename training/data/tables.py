"""Tables in files: CSV, TSV, JSON Lines or Parquet in, the columns we want out, by our names.

Knows nothing of what the columns mean. A refusal is one line that names the file and, where it
can, the row and the column; rows are counted from 1, a header is no row. A file is read in parts,
so that a large one never lies in memory whole; only JSON Lines must, since a column may change
its type in the last line.
"""

import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, final

import polars as pl
from polars.exceptions import PanicException, PolarsError

from training.data.csv_blocks import csv_blocks
from training.data.csv_faults import refuse_broken_row
from training.data.json_lines import first_fault, read_json_lines
from training.data.watched_file import OnBytes, ignore_bytes, watch_whole, watched
from training.errors import BadInputError

SEPARATORS: Final = {".csv": ",", ".csv.gz": ",", ".tsv": "\t", ".tsv.gz": "\t"}
JSON_LINES: Final = (".jsonl", ".ndjson")
PARQUET: Final = ".parquet"
GLOB_LETTERS: Final = frozenset("*?[")
LONGEST_VALUE: Final = 60  # characters of a cell that a message repeats
FORMATS: Final = (*SEPARATORS, *JSON_LINES, PARQUET)
PART_ROWS: Final = 1 << 18  # of what is not cut by bytes; a part of 4 columns holds some 40 MB


@final
@dataclass(frozen=True, slots=True)
class Table:
    """A file that was read, or a part of it.

    Attributes:
        path: The file.
        frame: The wanted columns that it has, by our names; typed as in the file, text from CSV.
        name_of: What the file calls each of them.
        rows_before: Rows of the file above this part.
    """

    path: Path
    frame: pl.DataFrame
    name_of: Mapping[str, str]
    rows_before: int = 0

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
        """Make the error that names a place in the table; ``row`` counts from 1 in this part."""
        where = "" if row is None else f"data row {self.rows_before + row} (counted from 1), "
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


@final
@dataclass(frozen=True, slots=True)
class Wanted:
    """Which columns to read.

    Attributes:
        required: Our names of columns that must be there.
        optional: Our names of columns that may be there.
        renamed: What the file calls columns, where it differs from our names. A column named here
            must be there.
        either: Our names of renamed columns that may have kept our name.
    """

    required: Sequence[str]
    optional: Sequence[str] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    either: Collection[str] = ()

    @property
    def names(self) -> dict[str, str]:
        """What a file calls the columns, if it has them."""
        return {ours: self.renamed.get(ours, ours) for ours in (*self.required, *self.optional)}

    def found_in(self, path: Path, present: Sequence[str]) -> dict[str, str]:
        """Give what a file with these columns calls those of ours that it has.

        Raises:
            BadInputError: It lacks one that must be there, or has one twice.
        """
        names = self.names
        for ours in self.either:
            names[ours] = names[ours] if names[ours] in present else ours
        found = {ours: name for ours, name in names.items() if name in present}
        for name in found.values():
            if present.count(name) > 1:
                raise BadInputError(f"{path}: two columns are called {name!r}; rename one of them")
        for ours in (*self.required, *self.renamed):
            if ours not in found:
                raise BadInputError(
                    f"{path}: no column {names[ours]!r}; there are: {', '.join(present)}; "
                    f"say which one it is with --columns {ours}=NAME"
                )
        return found


def read_table(path: Path, wanted: Wanted) -> Table:
    """Read the columns that we want and the file has, all rows.

    Raises:
        BadInputError: No such file, an unknown or a broken one, or one that lacks a column.
    """
    parts = list(read_parts(path, wanted, ignore_bytes))
    return Table(path, pl.concat([part.frame for part in parts]), parts[0].name_of)


def read_parts(path: Path, wanted: Wanted, on_bytes: OnBytes) -> Iterator[Table]:
    """Read the columns that we want and the file has, some rows at a time.

    Args:
        path: A file whose name ends in one of ``FORMATS``.
        wanted: The columns.
        on_bytes: Is given every byte of the file, in order.

    Yields:
        Parts of one schema, in order; at least one, if without rows.

    Raises:
        BadInputError: No such file, an unknown or a broken one, or one that lacks a column.
    """
    form = form_of(path)
    try:
        rows_before = 0
        for frame, name_of in _read_as(form)(path, wanted, on_bytes):
            ours = frame.select(pl.col(name).alias(ours) for ours, name in name_of.items())
            yield Table(path, ours, name_of, rows_before)
            rows_before += frame.height
    except (PolarsError, PanicException, OSError, EOFError, zlib.error) as error:
        raise _broken(path, form, list(wanted.names.values()), error) from error


Parts = Iterator[tuple[pl.DataFrame, dict[str, str]]]


def _read_as(form: str) -> Callable[[Path, Wanted, OnBytes], Parts]:
    if form == PARQUET:
        return _parquet_parts
    return _json_parts if form in JSON_LINES else _csv_parts


def _csv_parts(path: Path, wanted: Wanted, on_bytes: OnBytes) -> Parts:
    separator = SEPARATORS[form_of(path)]
    with watched(path, on_bytes) as file:
        name_of: dict[str, str] = {}
        for block in csv_blocks(file.read):
            name_of = name_of or wanted.found_in(path, _csv_header(path, block, separator))
            # All as text, so that the id "007" stays as it is. All columns: with fewer to read
            # than the file has, Polars takes a line with too many fields without a word.
            frame = pl.read_csv(block, separator=separator, infer_schema=False)
            yield frame, name_of


def _csv_header(path: Path, block: bytes, separator: str) -> list[str]:
    """Give the names of the columns as they stand there: Polars would rename the second of two."""
    if b"\r" in block and b"\n" not in block:
        raise BadInputError(f"{path}: its lines end in CR alone; write them with LF or CR LF")
    header = pl.read_csv(block, separator=separator, has_header=False, n_rows=1, infer_schema=False)
    return [name or "" for name in header.row(0)]


def _json_parts(path: Path, wanted: Wanted, on_bytes: OnBytes) -> Parts:
    watch_whole(path, on_bytes)
    frame = read_json_lines(path)
    name_of = wanted.found_in(path, frame.columns)
    if pl.String in frame.select(name_of.values()).dtypes:
        _refuse_json_fault(path, list(name_of.values()))
    for start in range(0, max(1, frame.height), PART_ROWS):
        yield frame.slice(start, PART_ROWS), name_of


def _parquet_parts(path: Path, wanted: Wanted, on_bytes: OnBytes) -> Parts:
    watch_whole(path, on_bytes)
    lazy = pl.scan_parquet(path, glob=False, hive_partitioning=False)
    schema = lazy.collect_schema()
    name_of = wanted.found_in(path, schema.names())
    rows = 0
    for frame in lazy.select(name_of.values()).collect_batches(chunk_size=PART_ROWS):
        yield frame, name_of
        rows += frame.height
    if not rows:
        yield schema.to_frame(), name_of


def form_of(path: Path) -> str:
    """Tell which of ``FORMATS`` a file has, by its name.

    Raises:
        BadInputError: No such file, an empty one or none of these formats.
    """
    if not path.is_file():
        raise BadInputError(f"{path}: no such file")
    form = next((form for form in FORMATS if path.name.lower().endswith(form)), None)
    if form is None:
        raise BadInputError(f"{path}: unknown kind of file; known are {' '.join(FORMATS)}")
    if path.stat().st_size == 0:
        raise BadInputError(f"{path}: the file is empty")
    return form


def _broken(path: Path, form: str, names: Sequence[str], error: BaseException) -> BadInputError:
    reason = str(error).partition("\n")[0]
    if form == PARQUET:
        return BadInputError(
            f"{path}: no whole Parquet file ({reason}); was the copy cut short? Copy it again"
        )
    if form in JSON_LINES:
        _refuse_json_fault(path, names)
    else:
        refuse_broken_row(path, SEPARATORS[form])
    return BadInputError(f"{path}: cannot be read as {form}: {reason}")


def _refuse_json_fault(path: Path, names: Sequence[str]) -> None:
    fault = first_fault(path, names)
    if fault is not None:
        column = "" if fault.column is None else f", column {fault.column!r}:"
        raise BadInputError(
            f"{path}: data row {fault.row} (counted from 1){column} {fault.problem}; "
            "write one JSON object a line, with one type a column"
        )
