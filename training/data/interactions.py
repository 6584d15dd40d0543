"""The interaction log in memory: who took what, each pair once, users by items."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self, final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.data.ids import id_order, ranks_of
from training.data.pairs import BLOCK_ROWS, items_in_place, paired, row_blocks, sort_pairs
from training.errors import BadInputError

REQUIRED: Final = ("user_id", "item_id")
OPTIONAL: Final = ("rating", "timestamp", "weight", "split")
LOG_COLUMNS: Final = (*REQUIRED, *OPTIONAL)

# MovieLens and most shops: whole or half stars up to 5. A scale of 1 to 10 or -10 to 10 is not
# guessed at.
STARS_FROM: Final = 0.5
STARS_TO: Final = 5.0
STARS_THRESHOLD: Final = 4.0

TRAIN: Final = "train"
# Weak generalization: the same users everywhere. Strong: the held-out users have no "train" rows.
WEAK_PARTS: Final = ("valid", "test")
STRONG_PARTS: Final = ("valid_history", "valid_target", "test_history", "test_target")
PART_NAMES: Final = (TRAIN, *WEAK_PARTS, *STRONG_PARTS)
PART_CODES: Final = {name: code for code, name in enumerate(PART_NAMES)}


@final
@dataclass(frozen=True, slots=True, eq=False)
class InteractionLog:
    """N interactions, each pair of user and item once, sorted by user and item.

    The order of the rows depends on the ids alone: with a seed, chance falls on the same
    interactions however the file was sorted.

    Attributes:
        offset_U1: int64; where each user's rows begin, and the end. Nobody has none.
        item_N: int32 codes, ascending within a user.
        user_ids: String, ascending: by value where all are decimal numbers, else as text. The
            position is the code.
        item_ids: Likewise; each has a row.
        values: By name, what else the log has, one a row: ``rating`` and ``weight`` (float32, or
            float64 where that would change a number), ``timestamp`` (the narrowest of int32,
            int64, float32 and float64 that changes none), ``split`` (int8, of ``PART_CODES``).
        merged_duplicates: Rows that went into an earlier or later one of the same pair.
    """

    offset_U1: NDArray[np.int64]
    item_N: NDArray[np.int32]
    user_ids: pl.Series
    item_ids: pl.Series
    values: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    merged_duplicates: int = 0

    @classmethod
    def of_sorted(
        cls,
        pair_N: NDArray[np.uint64],
        user_ids: pl.Series,
        item_ids: pl.Series,
        values: Mapping[str, NDArray[Any]],
        merged_duplicates: int = 0,
    ) -> Self:
        """Lay out sorted pairs of codes; ids are in the order of their codes.

        Args:
            pair_N: An array of its own; used up.
            user_ids: The position is the code.
            item_ids: Likewise.
            values: As those of a log; they may be brought into order later.
            merged_duplicates: Rows that are no pairs of their own.
        """
        starts = np.arange(len(user_ids), dtype=np.uint32)
        first_U = paired(starts, np.zeros_like(starts))
        offset_U1 = np.append(np.searchsorted(pair_N, first_U), len(pair_N))
        return cls(offset_U1, items_in_place(pair_N), user_ids, item_ids, values, merged_duplicates)

    def __contains__(self, column: str) -> bool:
        return column in self.values

    def __len__(self) -> int:
        return len(self.item_N)

    @property
    def num_users(self) -> int:
        """Different users."""
        return len(self.user_ids)

    @property
    def num_items(self) -> int:
        """Different items."""
        return len(self.item_ids)

    @property
    def length_U(self) -> NDArray[np.int64]:
        """Rows of each user."""
        return np.diff(self.offset_U1)

    @property
    def frame(self) -> pl.DataFrame:
        """The log as a table with its ids, in our types; of many rows it takes much memory."""
        columns = {
            "user_id": self.user_ids.gather(self.by_user(np.arange(self.num_users))),
            "item_id": self.item_ids.gather(self.item_N),
            **{name: pl.Series(values) for name, values in self.values.items()},
        }
        if "split" in columns:
            columns["split"] = pl.Series(PART_NAMES).gather(columns["split"])
        if "timestamp" in columns:
            is_whole = columns["timestamp"].dtype.is_integer()
            columns["timestamp"] = columns["timestamp"].cast(pl.Int64 if is_whole else pl.Float64)
        return pl.DataFrame(columns).with_columns(pl.col(pl.Float32).cast(pl.Float64))

    def rating_range(self) -> tuple[float, float]:
        """Give the lowest and the highest rating of a log that has ratings."""
        return float(self.values["rating"].min()), float(self.values["rating"].max())

    def by_user(self, value_U: NDArray[Any]) -> NDArray[Any]:
        """Give every row what its user has."""
        return np.repeat(value_U, self.length_U)

    def counts_U(self, chosen_N: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Count the chosen rows of each user."""
        count_U = np.empty(self.num_users, dtype=np.int64)
        for users in user_blocks(self.offset_U1):
            first_B = self.offset_U1[users]
            rows = slice(first_B[0], self.offset_U1[users.stop])
            count_U[users] = np.add.reduceat(chosen_N[rows], first_B - first_B[0], dtype=np.int64)
        return count_U

    def items_in(self, chosen_N: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Tell of each item whether it has a chosen row."""
        known_I = np.zeros(self.num_items, dtype=np.bool_)
        for rows in row_blocks(len(self)):
            known_I[self.item_N[rows][chosen_N[rows]]] = True
        return known_I

    def items_as(self, code_I: NDArray[np.int32], chosen_N: NDArray[np.bool_]) -> NDArray[np.int32]:
        """Give other codes of the items of the chosen rows."""
        code_N = self.item_N[chosen_N]
        for rows in row_blocks(len(code_N)):
            code_N[rows] = code_I[code_N[rows]]
        return code_N

    def without(self, *columns: str) -> Self:
        """Forget some of the values."""
        kept = {name: values for name, values in self.values.items() if name not in columns}
        return replace(self, values=kept)

    def where(self, kept_N: NDArray[np.bool_]) -> Self:
        """Keep some rows, at least one; users and items without one are gone, the others moved."""
        if kept_N.all():
            return self
        count_U, has_I = self.counts_U(kept_N), self.items_in(kept_N)
        user_ids = self.user_ids.filter(pl.Series(count_U > 0))
        item_ids = self.item_ids.filter(pl.Series(has_I))
        column_I = (np.cumsum(has_I) - 1).astype(np.int32)
        item_N = self.items_as(column_I, kept_N)
        values = {name: values_N[kept_N] for name, values_N in self.values.items()}
        length_U = count_U[count_U > 0]
        orders = [id_order(ids) for ids in (user_ids, item_ids)]
        if all(_ascends(order) for order in orders):
            offset_U1 = np.concatenate([[0], np.cumsum(length_U)])
            return type(self)(offset_U1, item_N, user_ids, item_ids, values, self.merged_duplicates)
        # The ids that stood in the way of sorting by value are gone.
        user_N = np.repeat(np.arange(len(length_U), dtype=np.uint32), length_U)
        pair_N = paired(user_N, item_N.view(np.uint32))
        order_N = sort_pairs(pair_N, ranks_of(orders[0]), ranks_of(orders[1]))
        return self.of_sorted(
            pair_N,
            user_ids.gather(orders[0]),
            item_ids.gather(orders[1]),
            {name: values_N[order_N] for name, values_N in values.items()},
            self.merged_duplicates,
        )


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
    # As float64: NumPy would round a plain 3.3 to the float32 of the ratings.
    kept_N = log.values["rating"] >= np.float64(threshold)
    if not kept_N.any():
        raise BadInputError(f"{scale}: none reaches {threshold:g}; lower --positive-threshold")
    return log.where(kept_N), threshold


def user_blocks(offset_U1: NDArray[np.int64]) -> Iterator[slice]:
    """Cut users into blocks of some rows; one with more is a block of its own.

    Args:
        offset_U1: Where each user's rows begin, and the end.
    """
    first = 0
    while first < len(offset_U1) - 1:
        fits = np.searchsorted(offset_U1, offset_U1[first] + BLOCK_ROWS, side="right")
        last = max(int(fits) - 1, first + 1)
        yield slice(first, last)
        first = last


def _ascends(order: NDArray[np.uint32]) -> bool:
    return bool((order[1:] > order[:-1]).all())
