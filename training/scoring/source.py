"""The files with the users to score: which form they have, and a lazy look into each."""

import glob
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self, final

import polars as pl
from polars.exceptions import PanicException, PolarsError

from training.data.tables import (
    FORMATS,
    JSON_LINES,
    PARQUET,
    SEPARATORS,
    Wanted,
    find_files,
    read_parts,
)
from training.data.watched_file import ignore_bytes
from training.errors import BadInputError

LOG_COLUMNS: Final = ("user_id", "item_id", "rating", "weight")
ROW_COLUMNS: Final = ("user_id", "history")
KNOWN: Final = (*LOG_COLUMNS, "history")
# Of CSV all columns are read: with fewer, Polars takes a line with too many fields without a word.
WHOLE_LINES: Final = pl.QueryOptFlags(projection_pushdown=False)


@final
@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file with users.

    Attributes:
        path: The file.
        frame: Its columns that we want, by our names.
        name_of: What the file calls them.
    """

    path: Path
    frame: pl.LazyFrame
    name_of: Mapping[str, str]

    @classmethod
    def open(cls, path: Path, renamed: Mapping[str, str]) -> Self:
        """Look at the columns of a file.

        Raises:
            BadInputError: No such file, an unknown or a broken one, or one with other columns.
        """
        with naming(path):
            lazy = _scan(path)
            present = lazy.collect_schema().names()
        names = {ours: renamed.get(ours, ours) for ours in KNOWN}
        _refuse_columns(path, present, names, ["user_id", *renamed])
        ours = LOG_COLUMNS if names["item_id"] in present else ROW_COLUMNS
        name_of = {name: names[name] for name in ours if names[name] in present}
        frame = lazy.select(pl.col(name).alias(ours) for ours, name in name_of.items())
        return cls(path, frame, name_of)

    @property
    def is_log(self) -> bool:
        """Whether a row is one interaction of a user, and not all of them."""
        return "item_id" in self.name_of


def open_source(source: Path, renamed: Mapping[str, str]) -> list[SourceFile]:
    """Look at the files that a source means.

    Args:
        source: A CSV, TSV, JSON Lines or Parquet file, a glob, or a folder of Parquet files.
        renamed: What the files call our columns, where they have other names.

    Raises:
        BadInputError: There is none, or one that cannot be used, or one of another form.
    """
    for ours in renamed:
        if ours not in KNOWN:
            raise BadInputError(f"--columns: {ours!r} is no column; there are: {', '.join(KNOWN)}")
    files = [SourceFile.open(path, renamed) for path in find_files(source)]
    first = files[0]
    for file in files:
        if set(file.name_of) != set(first.name_of):
            odd = min(set(file.name_of) ^ set(first.name_of))
            raise BadInputError(f"{first.path} and {file.path}: only one has a column {odd!r}")
    return files


def _refuse_columns(
    path: Path, present: Sequence[str], names: Mapping[str, str], required: Sequence[str]
) -> None:
    """Refuse a file that is neither a log nor one row a user, or is both."""
    forms = [ours for ours in ("item_id", "history") if names[ours] in present]
    if len(forms) > 1:
        raise BadInputError(
            f"{path}: it has a column {names['item_id']!r}, as a log, and {names['history']!r}, as "
            "one row a user: leave one of them out"
        )
    lacking = [ours for ours in dict.fromkeys(required) if names[ours] not in present]
    said = [repr(names[ours]) for ours in lacking]
    if not forms and not {"item_id", "history"}.intersection(lacking):
        said.append("'item_id' (of a log) or 'history' (a list)")
        lacking.append("item_id")
    if lacking:
        raise BadInputError(
            f"{path}: no column {' and no '.join(said)}; there are: {', '.join(present)}; say "
            f"which is which with --columns {','.join(f'{ours}=NAME' for ours in lacking)}"
        )


@contextmanager
def naming(*paths: Path) -> Iterator[None]:
    """Name the file in what is wrong with it, and the row where that can be found out.

    Raises:
        BadInputError: It cannot be read.
    """
    try:
        yield
    except (PolarsError, PanicException) as error:
        for path in paths:
            _look_again(path)
        reason = str(error).partition("\n")[0]
        name = paths[0] if len(paths) == 1 else paths[0].parent
        raise BadInputError(f"{name}: cannot be read: {reason}") from error


def _look_again(path: Path) -> None:
    """Read a file as for training, slower than a lazy look, which tells what is wrong and where.

    Raises:
        BadInputError: Something is wrong with the file itself.
    """
    if not path.name.lower().endswith(PARQUET):  # of which Polars tells as much
        for _ in read_parts(path, Wanted(()), ignore_bytes):
            pass


def _scan(path: Path) -> pl.LazyFrame:
    name = path.name.lower()
    if path.stat().st_size == 0:
        raise BadInputError(f"{path}: the file is empty")
    if name.endswith(PARQUET):
        return pl.scan_parquet(path, glob=False, hive_partitioning=False)
    if name.endswith(JSON_LINES):
        with path.open("rb") as file:
            if not any(line.strip() for line in file):
                raise BadInputError(f"{path}: the file has nothing but blank lines")
        # A column may begin in the last line: all are looked at before the first is read.
        return pl.scan_ndjson(glob.escape(str(path)), infer_schema_length=None)
    for form, separator in SEPARATORS.items():
        if name.endswith(form):  # all as text, so that the id "007" stays as it is
            return pl.scan_csv(path, separator=separator, infer_schema=False, glob=False)
    raise BadInputError(f"{path}: unknown kind of file; known are {' '.join(FORMATS)}")
