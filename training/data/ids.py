"""Ids and the whole numbers that stand for them."""

from typing import final

import numpy as np
import polars as pl
from numpy.typing import NDArray


@final
class IdCodes:
    """A code for every id that was seen: 0, 1, 2 and so on, in the order of their first rows."""

    def __init__(self) -> None:
        self._categories = pl.Categories.random()
        # Polars forgets the categories when the last column of them is gone.
        self._anchor = pl.Series([], dtype=pl.Categorical(self._categories))

    def codes_of(self, id_N: pl.Series) -> NDArray[np.uint32]:
        """Give the codes of ids, new ones to ids that are new."""
        return id_N.cast(self._anchor.dtype).to_physical().to_numpy()

    @property
    def ids(self) -> pl.Series:
        """All ids; the position is the code."""
        return self._categories.to_series()


def id_order(ids: pl.Series) -> NDArray[np.uint32]:
    """Sort different ids: by value if all are decimal numbers ("9" before "10"), else as text.

    Returns:
        Positions in ``ids``, that of the first id first.
    """
    if not ids.str.contains(r"^[0-9]+$").all():
        return ids.arg_sort().to_numpy()
    # By length, then as text: numbers of any size, no overflow. "7" and "007" stay two ids.
    value = ids.str.strip_chars_start("0")
    keys = pl.DataFrame({"length": value.str.len_bytes(), "value": value, "id": ids})
    return keys.select(pl.arg_sort_by("length", "value", "id")).to_series().to_numpy()


def ranks_of(order: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Turn positions in order around: where in the order each position is."""
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order), dtype=order.dtype)
    return rank
