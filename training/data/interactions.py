"""The interaction log: who took what, out of files, checked, each pair once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Final, final

import numpy as np
import polars as pl

from service.histories import MAX_WEIGHT, MIN_WEIGHT
from training.data.columns import id_column, number_column, time_column
from training.data.tables import Table, find_files, read_table
from training.errors import BadInputError

REQUIRED: Final = ("user_id", "item_id")
OPTIONAL: Final = ("rating", "timestamp", "weight", "split")
LOG_COLUMNS: Final = (*REQUIRED, *OPTIONAL)
PAIR: Final = list(REQUIRED)

# MovieLens and most shops: whole or half stars up to 5. A scale of 1 to 10 or -10 to 10 is not
# guessed at.
STARS_FROM: Final = 0.5
STARS_TO: Final = 5.0
STARS_THRESHOLD: Final = 4.0

TRAIN: Final = "train"
# Weak generalization: the same users everywhere. Strong: the held-out users have no "train" rows.
WEAK_PARTS: Final = ("valid", "test")
STRONG_PARTS: Final = ("valid_history", "valid_target", "test_history", "test_target")


@final
@dataclass(frozen=True, slots=True)
class InteractionLog:
    """Interactions, each pair of user and item once.

    Attributes:
        frame: ``user_id`` and ``item_id`` (String) and, where the log has them, ``rating``
            (Float64), ``timestamp`` (Int64 or Float64), ``weight`` (Float64, above 0) and
            ``split`` (String).
        merged_duplicates: Rows that went into an earlier or later one of the same pair.
    """

    frame: pl.DataFrame
    merged_duplicates: int = 0

    def __contains__(self, column: str) -> bool:
        return column in self.frame.columns

    def __len__(self) -> int:
        return self.frame.height

    @property
    def num_users(self) -> int:
        """Different users."""
        return self.frame["user_id"].n_unique()

    @property
    def num_items(self) -> int:
        """Different items."""
        return self.frame["item_id"].n_unique()

    def rating_range(self) -> tuple[float, float]:
        """Give the lowest and the highest rating of a log that has ratings."""
        lowest, highest = self.frame.select(low=pl.min("rating"), high=pl.max("rating")).row(0)
        return lowest, highest


def read_log(source: Path, columns: Mapping[str, str]) -> InteractionLog:
    """Read and check a log.

    Of a pair that stands there more than once the latest row counts, or the last one where there
    is no timestamp; its weight is the sum of all.

    Args:
        source: A file (CSV, TSV, JSON Lines, Parquet), a glob, or a folder of Parquet files.
        columns: What the files call our columns, where they have other names.

    Raises:
        BadInputError: One line that says what is wrong, where, and what to do.
    """
    for ours in columns:
        if ours not in LOG_COLUMNS:
            known = ", ".join(LOG_COLUMNS)
            raise BadInputError(f"--columns: {ours!r} is no column of a log; there are: {known}")
    tables = [read_table(path, REQUIRED, OPTIONAL, columns) for path in find_files(source)]
    _refuse_different_files(tables)
    frame = pl.concat([_checked(table) for table in tables], how="vertical_relaxed")
    if frame.is_empty():
        raise BadInputError(f"{source}: the log is empty")
    if "split" in frame.columns:
        _check_split(tables, frame)
    merged = _merge_pairs(frame)
    return InteractionLog(merged, frame.height - merged.height)


def positives(log: InteractionLog, threshold: float | None) -> tuple[InteractionLog, float | None]:
    """Keep the interactions that say yes.

    Args:
        log: With or without ratings; without, all of it is positive.
        threshold: Ratings from here up are positive. None: 4 on a scale that ends at 5 and starts
            at 0.5 or above, and a refusal on any other.

    Returns:
        The positive part, and the threshold that made it (None without ratings).

    Raises:
        BadInputError: No threshold was given for an unusual scale, or no rating reaches it.
    """
    if "rating" not in log:
        return log, None
    lowest, highest = log.rating_range()
    scale = f"ratings run from {lowest:g} to {highest:g}"
    if threshold is None:
        if lowest < STARS_FROM or highest != STARS_TO:
            raise BadInputError(f"{scale}: say with --positive-threshold from where they are a yes")
        threshold = STARS_THRESHOLD
    kept = log.frame.filter(pl.col("rating") >= threshold)
    if kept.is_empty():
        raise BadInputError(f"{scale}: none reaches {threshold:g}; lower --positive-threshold")
    return InteractionLog(kept, log.merged_duplicates), threshold


def _checked(table: Table) -> pl.DataFrame:
    columns = [_CHECK_OF[name](table, name) for name in table.frame.columns]
    return pl.DataFrame(columns)


def _weights(table: Table, column: str) -> pl.Series:
    weight = number_column(table, column)
    fits = weight.is_between(MIN_WEIGHT, MAX_WEIGHT)
    allowed = f"weights are {MIN_WEIGHT:g} to {MAX_WEIGHT:,.0f}"
    table.refuse_where(~fits, column, "{value} is no weight; " + allowed)
    return weight


def _split_parts(table: Table, column: str) -> pl.Series:
    part = table.frame[column].cast(pl.String)
    known = (TRAIN, *WEAK_PARTS, *STRONG_PARTS)
    unknown = ~part.is_in(known).fill_null(value=False)
    table.refuse_where(unknown, column, "{value} is no part of a split: " + ", ".join(known))
    return part


_CHECK_OF: Final[Mapping[str, Callable[[Table, str], pl.Series]]] = {
    "user_id": id_column,
    "item_id": id_column,
    "rating": number_column,
    "timestamp": time_column,
    "weight": _weights,
    "split": _split_parts,
}


def _refuse_different_files(tables: list[Table]) -> None:
    """Refuse files of one log that have other columns than the first, or other kinds of ids."""
    first, *others = tables
    for table in others:
        odd = sorted(set(first.frame.columns) ^ set(table.frame.columns))
        if odd:
            raise BadInputError(f"{first.path} and {table.path}: only one has a column {odd[0]!r}")
        for column in REQUIRED:
            kinds = [t.frame[column].dtype.is_integer() for t in (first, table)]
            if kinds[0] != kinds[1]:
                raise table.error(
                    f"mixed types: integers in one file, text in the other ({first.path}); "
                    "write them alike",
                    column,
                )


def _check_split(tables: list[Table], frame: pl.DataFrame) -> None:
    """Refuse a mixture of the two kinds of split, and a pair in two parts of one."""
    part = frame["split"]
    is_weak, is_strong = part.is_in(WEAK_PARTS), part.is_in(STRONG_PARTS)
    if is_weak.any() and is_strong.any():
        row = max(is_weak.arg_true()[0], is_strong.arg_true()[0])
        other = part[min(is_weak.arg_true()[0], is_strong.arg_true()[0])]
        raise _error_at(
            tables,
            row,
            f"{part[row]!r} and {other!r} do not go together: use {TRAIN}, {', '.join(WEAK_PARTS)} "
            f"or {TRAIN}, {', '.join(STRONG_PARTS)}",
        )
    in_two = frame.select(pl.col("split").n_unique().over(PAIR) > 1).to_series().arg_true()
    if len(in_two):
        row = in_two[0]
        user_id, item_id = frame.row(row)[:2]
        raise _error_at(
            tables, row, f"user {user_id!r} has item {item_id!r} in two parts of the split"
        )


def _error_at(tables: list[Table], row: int, problem: str) -> BadInputError:
    """Make an error about a row of all files together."""
    ends = list(accumulate(table.frame.height for table in tables))
    number = int(np.searchsorted(ends, row, side="right"))
    start = ends[number] - tables[number].frame.height
    return tables[number].error(problem, "split", row - start + 1)


def _merge_pairs(frame: pl.DataFrame) -> pl.DataFrame:
    if not frame.select(PAIR).is_duplicated().any():
        return frame
    if "timestamp" in frame.columns:
        frame = frame.sort("timestamp", maintain_order=True)
    values = [
        pl.sum(name) if name == "weight" else pl.last(name)
        for name in frame.columns
        if name not in PAIR
    ]
    return frame.group_by(PAIR, maintain_order=True).agg(values)
