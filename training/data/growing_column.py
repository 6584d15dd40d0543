"""A column that grows as a file is read, in the narrowest type that loses nothing."""

from typing import Any, final

import numpy as np
import polars as pl
from numpy.typing import NDArray


@final
class GrowingColumn:
    """Values in one piece of memory; the type widens when a value asks for it."""

    def __init__(self) -> None:
        self._values: NDArray[Any] | None = None

    def extend(self, part: NDArray[Any]) -> None:
        """Add values at the end."""
        if self._values is None:
            self._values = part.copy()
            return
        wide = np.result_type(self._values, part)
        if wide != self._values.dtype:
            self._values = self._values.astype(wide)
        size = len(self._values)
        # Grown where it is: to join many parts in the end would take their memory twice. Nobody
        # else holds the array before it is taken, which is what the check would look for.
        self._values.resize(size + len(part), refcheck=False)
        self._values[size:] = part

    @property
    def values(self) -> NDArray[Any]:
        """The values so far, to look at; whoever keeps them must not let the column grow.

        Raises:
            ValueError: There never were any.
        """
        if self._values is None:
            raise ValueError("a column that was never filled has no type")
        return self._values

    def take(self) -> NDArray[Any]:
        """Give the values away; nothing is left.

        Raises:
            ValueError: There never were any.
        """
        values, self._values = self.values, None
        return values


def narrowed(column: pl.Series) -> NDArray[Any]:
    """Give whole numbers as int32 and others as float32 where every value stays what it is.

    Args:
        column: Int64 or Float64, without nulls.
    """
    narrow = column.cast(pl.Float32 if column.dtype.is_float() else pl.Int32, strict=False)
    is_same = not narrow.has_nulls() and (narrow.cast(column.dtype) == column).all()
    return (narrow if is_same else column).to_numpy()
