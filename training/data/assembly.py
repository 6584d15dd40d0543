"""Rows in the order of their files made into a log: sorted, each pair once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.data.growing_column import GrowingColumn, narrowed
from training.data.ids import IdCodes, id_order, ranks_of
from training.data.interactions import PART_NAMES, REQUIRED, InteractionLog
from training.data.pairs import BLOCK_ROWS, paired, sort_pairs
from training.errors import BadInputError

# Makes the error about a row, counted from 0 over all files.
Blame = Callable[[str, int], BadInputError]


@final
@dataclass(frozen=True, slots=True)
class Rows:
    """N rows as they were read.

    Attributes:
        pairs: Codes of users and items.
        user_ids: String; the position is the code.
        item_ids: String; the position is the code.
        values: As those of a log.
    """

    pairs: GrowingColumn
    user_ids: pl.Series
    item_ids: pl.Series
    values: dict[str, NDArray[Any]]


def assembled(rows: Rows, blame: Blame) -> InteractionLog:
    """Sort rows and merge those of one pair.

    Of a pair that stands there more than once the latest row counts, or the last one where there
    is no timestamp; its weight is the sum of all.

    Args:
        rows: At least one; used up: nothing is left of the pairs, and the values are the log's.
        blame: For a pair that is in two parts of a split.

    Raises:
        BadInputError: A pair is in two parts.
    """
    pair_N, values = rows.pairs.take(), rows.values
    user_order, item_order = id_order(rows.user_ids), id_order(rows.item_ids)
    user_ids, item_ids = rows.user_ids.gather(user_order), rows.item_ids.gather(item_order)
    order_N = sort_pairs(pair_N, ranks_of(user_order), ranks_of(item_order))
    is_first_N = np.append(True, pair_N[1:] != pair_N[:-1])
    log = InteractionLog.of_sorted(pair_N, user_ids, item_ids, values)
    for name in values:
        # One at a time, and the unsorted one is gone before the next: a column is half a CSR.
        values[name] = values[name][order_N]
    if is_first_N.all():
        return log
    place = _in_two_parts(values["split"], is_first_N, order_N) if "split" in values else None
    if place is not None:
        raise blame(_two_parts(log, place), int(order_N[place]))
    del order_N
    kept_N = _merge(is_first_N, values)
    for name in values:
        values[name] = values[name][kept_N]
    return InteractionLog(
        offset_U1=np.append(0, np.cumsum(log.counts_U(kept_N))),
        item_N=log.item_N[kept_N],
        user_ids=user_ids,
        item_ids=item_ids,
        values=values,
        merged_duplicates=int(np.count_nonzero(~kept_N)),
    )


def log_of(frame: pl.DataFrame) -> InteractionLog:
    """Make a log of a table with our columns in our types.

    Args:
        frame: ``user_id`` and ``item_id`` (String) and any of ``rating``, ``weight`` (Float64),
            ``timestamp`` (Int64 or Float64) and ``split`` (String).

    Raises:
        BadInputError: A pair is in two parts of a split.
    """
    user_codes, item_codes = IdCodes(), IdCodes()
    pairs = GrowingColumn()
    user_N, item_N = user_codes.codes_of(frame["user_id"]), item_codes.codes_of(frame["item_id"])
    pairs.extend(paired(user_N, item_N))
    values = {
        column.name: part_codes(column) if column.name == "split" else narrowed(column)
        for column in frame.drop(REQUIRED)
    }

    def blame(problem: str, row: int) -> BadInputError:
        return BadInputError(f"row {row + 1}: {problem}")

    return assembled(Rows(pairs, user_codes.ids, item_codes.ids, values), blame)


def part_codes(column: pl.Series) -> NDArray[np.int8]:
    """Turn the names of parts of a split into their codes, unknown ones into -1."""
    codes = pl.Series(range(len(PART_NAMES)), dtype=pl.Int8)
    names = pl.Series(PART_NAMES)
    return column.replace_strict(names, codes, default=-1, return_dtype=pl.Int8).to_numpy()


def _merge(is_first_N: NDArray[np.bool_], values: dict[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """Choose a row of each pair; give the chosen ones the sum of their weights.

    Args:
        is_first_N: Whether a row has another pair than the one before.
        values: In the order of the pairs, rows of one pair in the order of the files.
    """
    kept_N = np.append(is_first_N[1:], True)
    start = 0
    while start < len(kept_N):
        stop = start + BLOCK_ROWS
        while stop < len(kept_N) and not is_first_N[stop]:
            stop += 1
        rows = slice(start, stop)
        place_D = start + np.flatnonzero(~(is_first_N[rows] & kept_N[rows]))
        if len(place_D):
            _merge_places(place_D, is_first_N, kept_N, values)
        start = stop
    return kept_N


def _merge_places(
    place_D: NDArray[np.int64],
    is_first_N: NDArray[np.bool_],
    kept_N: NDArray[np.bool_],
    values: dict[str, NDArray[Any]],
) -> None:
    """Merge the rows of pairs that have D rows together, and at least two each."""
    is_first_D = is_first_N[place_D]
    first_P = np.flatnonzero(is_first_D)
    last_P = np.append(first_P[1:], len(place_D)) - 1
    if "timestamp" in values:
        time_D = values["timestamp"][place_D]
        place_D = place_D[np.lexsort((time_D, np.cumsum(is_first_D)))]
    chosen_P = place_D[last_P]
    kept_N[place_D] = False
    kept_N[chosen_P] = True
    if "weight" in values:
        weight_D = values["weight"][place_D].astype(np.float64)
        values["weight"][chosen_P] = np.add.reduceat(weight_D, first_P)


def _in_two_parts(
    part_N: NDArray[np.int8], is_first_N: NDArray[np.bool_], order_N: NDArray[Any]
) -> int | None:
    """Find, of the rows of pairs that are in two parts, the first one of the files."""
    first_P = np.flatnonzero(is_first_N)
    is_split_P = np.minimum.reduceat(part_N, first_P) < np.maximum.reduceat(part_N, first_P)
    length_P = np.diff(np.append(first_P, len(part_N)))
    places = np.flatnonzero(np.repeat(is_split_P, length_P))
    return int(places[order_N[places].argmin()]) if len(places) else None


def _two_parts(log: InteractionLog, place: int) -> str:
    user = int(np.searchsorted(log.offset_U1, place, side="right")) - 1
    user_id, item_id = log.user_ids[user], log.item_ids[int(log.item_N[place])]
    return f"user {user_id!r} has item {item_id!r} in two parts of the split"
