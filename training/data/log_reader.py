"""Logs out of files: read part by part, checked, ids turned into codes as they come."""

from bisect import bisect_right
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol, final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from service.histories import MAX_WEIGHT, MIN_WEIGHT
from training.data.assembly import Rows, assembled, part_codes
from training.data.columns import NOT_A_NUMBER, ODD_ID, TimeReader, id_text, number_column, odd_ids
from training.data.growing_column import GrowingColumn, narrowed
from training.data.ids import IdCodes
from training.data.interactions import (
    LOG_COLUMNS,
    OPTIONAL,
    PART_CODES,
    PART_NAMES,
    REQUIRED,
    STRONG_PARTS,
    TRAIN,
    WEAK_PARTS,
    InteractionLog,
)
from training.data.pairs import items_of, paired, users_of
from training.data.tables import Table, Wanted, find_files, read_parts
from training.data.watched_file import OnBytes, ignore_bytes
from training.errors import BadInputError


class ReadingWatcher(Protocol):
    """Told how far the reading of a log is."""

    def on_part(self, rows: int, read_bytes: int, total_bytes: int) -> None:
        """So many rows, and bytes of the files, are read so far."""


@final
class Unwatched:
    """A watcher that sees nothing."""

    def on_part(self, rows: int, read_bytes: int, total_bytes: int) -> None:
        """See nothing."""
        del rows, read_bytes, total_bytes


UNWATCHED: Final = Unwatched()


def read_log(
    source: Path,
    columns: Mapping[str, str],
    watcher: ReadingWatcher = UNWATCHED,
    on_bytes: OnBytes = ignore_bytes,
) -> InteractionLog:
    """Read and check a log, in one pass and in little more memory than it takes itself.

    Of a pair that stands there more than once the latest row counts, or the last one where there
    is no timestamp; its weight is the sum of all.

    Args:
        source: A file (CSV, TSV, JSON Lines, Parquet), a glob, or a folder of Parquet files.
        columns: What the files call our columns, where they have other names.
        watcher: Told after every part.
        on_bytes: Is given every byte of every file, in order.

    Raises:
        BadInputError: One line that says what is wrong, where, and what to do.
    """
    for ours in columns:
        if ours not in LOG_COLUMNS:
            known = ", ".join(LOG_COLUMNS)
            raise BadInputError(f"--columns: {ours!r} is no column of a log; there are: {known}")
    paths = find_files(source)
    total_bytes = sum(path.stat().st_size for path in paths)
    read_bytes = 0

    def count(block: memoryview) -> None:
        nonlocal read_bytes
        read_bytes += len(block)
        on_bytes(block)

    reading = _Reading()
    for path in paths:
        reading.begin_file()
        for part in read_parts(path, Wanted(REQUIRED, OPTIONAL, columns), count):
            reading.add(part)
            watcher.on_part(reading.num_rows, read_bytes, total_bytes)
    if not reading.num_rows:
        raise BadInputError(f"{source}: the log is empty")
    return reading.finish()


@final
class _Reading:
    """The rows of all files so far."""

    def __init__(self) -> None:
        self._codes = {column: IdCodes() for column in REQUIRED}
        self._pairs = GrowingColumn()
        self._values: dict[str, GrowingColumn] = {}
        # The first part of each file without its rows, and how many rows stand before the file.
        self._files: list[Table] = []
        self._starts: list[int] = []
        self._times = TimeReader()
        self.num_rows = 0

    def begin_file(self) -> None:
        """Go on with another file."""
        self._times.begin_file()
        self._starts.append(self.num_rows)

    def add(self, part: Table) -> None:
        """Check a part of the present file and take its rows."""
        if len(self._files) < len(self._starts):
            self._files.append(Table(part.path, part.frame.clear(), part.name_of))
            _refuse_different_files(self._files[0], self._files[-1])
        user_N, item_N = (
            self._codes[column].codes_of(id_text(part, column)) for column in REQUIRED
        )
        self._pairs.extend(paired(user_N, item_N))
        for column in part.frame.drop(REQUIRED).columns:
            values = self._values.setdefault(column, GrowingColumn())
            if column == "split":
                values.extend(_split_parts(part, column))
            else:
                values.extend(narrowed(self._numbers_of(column)(part, column)))
        self.num_rows += part.frame.height

    def finish(self) -> InteractionLog:
        """Check what only the whole shows, and make the log."""
        values = {name: column.take() for name, column in self._values.items()}
        user_ids, item_ids = (self._codes[column].ids for column in REQUIRED)
        self._refuse_odd_ids(user_ids, item_ids)
        if "split" in values:
            self._refuse_mixed_split(values["split"])
        return assembled(Rows(self._pairs, user_ids, item_ids, values), self._blame_split)

    def _numbers_of(self, column: str) -> Callable[[Table, str], pl.Series]:
        if column == "timestamp":
            return self._times.read
        return _weights if column == "weight" else number_column

    def _refuse_odd_ids(self, user_ids: pl.Series, item_ids: pl.Series) -> None:
        for column, ids, codes_of in (
            ("user_id", user_ids, users_of),
            ("item_id", item_ids, items_of),
        ):
            if not ids.str.strip_chars().str.to_lowercase().is_in(list(NOT_A_NUMBER)).any():
                continue
            for table, start, stop in zip(
                self._files, self._starts, [*self._starts[1:], self.num_rows], strict=True
            ):
                id_N = ids.gather(codes_of(self._pairs.values[start:stop]))
                whole = Table(table.path, pl.DataFrame({column: id_N}), table.name_of)
                whole.refuse_where(id_N.is_in(odd_ids(id_N.unique()).implode()), column, ODD_ID)

    def _refuse_mixed_split(self, part_N: NDArray[np.int8]) -> None:
        """Refuse a mixture of the two kinds of split."""
        firsts = [
            np.flatnonzero(np.isin(part_N, [PART_CODES[name] for name in names]))[:1]
            for names in (WEAK_PARTS, STRONG_PARTS)
        ]
        if not all(len(first) for first in firsts):
            return
        other, row = sorted(int(first[0]) for first in firsts)
        name, other_name = PART_NAMES[part_N[row]], PART_NAMES[part_N[other]]
        raise self._blame_split(
            f"{name!r} and {other_name!r} do not go together: use {TRAIN}, {', '.join(WEAK_PARTS)} "
            f"or {TRAIN}, {', '.join(STRONG_PARTS)}",
            row,
        )

    def _blame_split(self, problem: str, row: int) -> BadInputError:
        """Make an error about a row of all files together."""
        number = bisect_right(self._starts, row) - 1
        return self._files[number].error(problem, "split", row - self._starts[number] + 1)


def _weights(table: Table, column: str) -> pl.Series:
    weight = number_column(table, column)
    fits = weight.is_between(MIN_WEIGHT, MAX_WEIGHT)
    allowed = f"weights are {MIN_WEIGHT:g} to {MAX_WEIGHT:,.0f}"
    table.refuse_where(~fits, column, "{value} is no weight; " + allowed)
    return weight


def _split_parts(table: Table, column: str) -> NDArray[np.int8]:
    part_N = part_codes(table.frame[column].cast(pl.String))
    unknown = pl.Series(part_N < 0)
    table.refuse_where(unknown, column, "{value} is no part of a split: " + ", ".join(PART_NAMES))
    return part_N


def _refuse_different_files(first: Table, other: Table) -> None:
    """Refuse files of one log that have other columns than the first, or other kinds of ids."""
    odd = sorted(set(first.frame.columns) ^ set(other.frame.columns))
    if odd:
        raise BadInputError(f"{first.path} and {other.path}: only one has a column {odd[0]!r}")
    for column in REQUIRED:
        kinds = [table.frame[column].dtype.is_integer() for table in (first, other)]
        if kinds[0] != kinds[1]:
            raise other.error(
                f"mixed types: integers in one file, text in the other ({first.path}); "
                "write them alike",
                column,
            )
