"""Interactions as arrays of codes, sorted by user and item, whatever the order of the file."""

from dataclasses import dataclass
from typing import Self, final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.data.interactions import InteractionLog


@final
@dataclass(frozen=True, slots=True)
class Events:
    """N interactions of users and items that have codes, in the order of their ids.

    The order of the rows depends on the ids alone: with a seed, chance falls on the same
    interactions however the file was sorted.

    Attributes:
        user_N: int64 codes, ascending.
        item_N: int64 codes, ascending within a user.
        weight_N: float32; 1 without a weight column.
        user_ids: String; the position is the code.
        item_ids: String; the position is the code.
    """

    user_N: NDArray[np.int64]
    item_N: NDArray[np.int64]
    weight_N: NDArray[np.float32]
    user_ids: pl.Series
    item_ids: pl.Series

    @classmethod
    def from_log(cls, log: InteractionLog) -> tuple[Self, pl.DataFrame]:
        """Encode a log; give its frame too, in the order of the events."""
        user_ids = sorted_ids(log.frame["user_id"])
        item_ids = sorted_ids(log.frame["item_id"])
        frame = log.frame.with_columns(
            user_code=_codes(log.frame["user_id"], user_ids),
            item_code=_codes(log.frame["item_id"], item_ids),
        ).sort("user_code", "item_code")
        weight = frame["weight"] if "weight" in log else pl.repeat(1, frame.height, eager=True)
        events = cls(
            frame["user_code"].to_numpy(),
            frame["item_code"].to_numpy(),
            weight.cast(pl.Float32).to_numpy(),
            user_ids,
            item_ids,
        )
        return events, frame

    def __len__(self) -> int:
        return len(self.user_N)

    @property
    def num_users(self) -> int:
        """How many codes of users there are."""
        return len(self.user_ids)

    @property
    def num_items(self) -> int:
        """How many codes of items there are."""
        return len(self.item_ids)

    def where(self, kept_N: NDArray[np.bool_]) -> Self:
        """Keep some events; codes stay what they are."""
        return type(self)(
            self.user_N[kept_N],
            self.item_N[kept_N],
            self.weight_N[kept_N],
            self.user_ids,
            self.item_ids,
        )

    def count_of_user_N(self) -> NDArray[np.int64]:
        """Count, for each event, the events of its user."""
        return np.bincount(self.user_N, minlength=self.num_users)[self.user_N]

    def has_item_of(self, chosen_N: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Tell which events have an item that one of the chosen events has."""
        known_I = np.zeros(self.num_items, dtype=np.bool_)
        known_I[self.item_N[chosen_N]] = True
        return known_I[self.item_N]

    def random_ranks(self, generator: np.random.Generator) -> NDArray[np.int64]:
        """Shuffle the events of every user: each gets a place, from 0 up, among its user's."""
        order_N = np.lexsort((generator.random(len(self)), self.user_N))
        # Users ascend in both orders: a user's shuffled events begin where the sorted ones do.
        first_N = np.searchsorted(self.user_N, self.user_N)
        rank_N = np.empty(len(self), dtype=np.int64)
        rank_N[order_N] = np.arange(len(self)) - first_N
        return rank_N


def sorted_ids(column: pl.Series) -> pl.Series:
    """Give each id once: by value if all are decimal numbers ("9" before "10"), else as text."""
    ids = column.unique()
    if not ids.str.contains(r"^[0-9]+$").all():
        return ids.sort()
    # By length, then as text: numbers of any size, no overflow. "7" and "007" stay two ids.
    value = ids.str.strip_chars_start("0")
    keys = pl.DataFrame({"length": value.str.len_bytes(), "value": value, "id": ids})
    return keys.sort("length", "value", "id")["id"].rename(column.name)


def _codes(column: pl.Series, ids: pl.Series) -> pl.Series:
    return column.cast(pl.Enum(ids)).to_physical().cast(pl.Int64)
