"""The users and items of training as rows and columns of sparse matrices."""

from dataclasses import dataclass
from typing import Self, final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from training.data.interactions import InteractionLog


@final
@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """A log, and what training knows of it.

    Attributes:
        log: All rows, held-out ones too.
        user_codes: int64, users with training rows, ascending; the position is their row.
        item_codes: int64, items with training rows, ascending; the position is their column.
    """

    log: InteractionLog
    user_codes: NDArray[np.int64]
    item_codes: NDArray[np.int64]

    @classmethod
    def of(cls, log: InteractionLog, trained_N: NDArray[np.bool_]) -> Self:
        """Take rows and columns from the training rows alone."""
        has_U, has_I = log.counts_U(trained_N) > 0, log.items_in(trained_N)
        return cls(log, np.flatnonzero(has_U), np.flatnonzero(has_I))

    @property
    def user_ids(self) -> tuple[str, ...]:
        """One a row."""
        return tuple(self.log.user_ids.gather(self.user_codes))

    @property
    def item_ids(self) -> tuple[str, ...]:
        """One a column."""
        return tuple(self.log.item_ids.gather(self.item_codes))

    def rows_of(self, user_codes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give users' rows in training, -1 for users without one."""
        row_U = np.full(self.log.num_users, -1, dtype=np.int64)
        row_U[self.user_codes] = np.arange(len(self.user_codes))
        return row_U[user_codes]

    def matrix(self, user_codes: NDArray[np.int64], chosen_N: NDArray[np.bool_]) -> csr_array:
        """Lay rows of the log out, users by items.

        Args:
            user_codes: Ascending; one a row. Rows of other users are left out.
            chosen_N: Which rows to take; those with an item that training lacks are left out.

        Returns:
            float32 weights (1 without), rows sorted, each item once; indices are int32.
        """
        log = self.log
        is_asked_U = np.zeros(log.num_users, dtype=np.bool_)
        is_asked_U[user_codes] = True
        column_I = np.full(log.num_items, -1, dtype=np.int32)
        column_I[self.item_codes] = np.arange(len(self.item_codes), dtype=np.int32)
        taken_N = chosen_N & log.by_user(is_asked_U) & (column_I >= 0)[log.item_N]
        # The log is sorted by user and item and both maps ascend: this is CSR already.
        length_U = log.counts_U(taken_N)[user_codes]
        offset_U1 = np.concatenate([[0], np.cumsum(length_U)])
        column_N = log.items_as(column_I, taken_N)
        if "weight" in log:
            weight_N = log.values["weight"][taken_N].astype(np.float32, copy=False)
        else:
            weight_N = np.ones(len(column_N), dtype=np.float32)
        # SciPy holds offsets and indices in one type, the wider of the two.
        narrowest = np.int32 if len(column_N) <= np.iinfo(np.int32).max else np.int64
        return csr_array(
            (weight_N, column_N, offset_U1.astype(narrowest)),
            shape=(len(user_codes), len(self.item_codes)),
        )
