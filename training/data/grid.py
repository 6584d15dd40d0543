"""The users and items of training as rows and columns of sparse matrices."""

from dataclasses import dataclass
from typing import Self, final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from training.data.events import Events


@final
@dataclass(frozen=True, slots=True)
class Grid:
    """Events, and what training knows of them.

    Attributes:
        events: All of them, held-out ones too.
        trained_N: Which of them are training's.
        user_codes: int64, users with training events, ascending; the position is their row.
        item_codes: int64, items with training events, ascending; the position is their column.
    """

    events: Events
    trained_N: NDArray[np.bool_]
    user_codes: NDArray[np.int64]
    item_codes: NDArray[np.int64]

    @classmethod
    def of(cls, events: Events, trained_N: NDArray[np.bool_]) -> Self:
        """Take rows and columns from the training events alone."""
        users, items = events.user_N[trained_N], events.item_N[trained_N]
        return cls(events, trained_N, np.unique(users), np.unique(items))

    @property
    def user_ids(self) -> tuple[str, ...]:
        """One a row."""
        return tuple(self.events.user_ids.gather(self.user_codes))

    @property
    def item_ids(self) -> tuple[str, ...]:
        """One a column."""
        return tuple(self.events.item_ids.gather(self.item_codes))

    def rows_of(self, user_codes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give users' rows in training, -1 for users without one."""
        return _position_of(self.user_codes, self.events.num_users)[user_codes]

    def matrix(self, user_codes: NDArray[np.int64], chosen_N: NDArray[np.bool_]) -> csr_array:
        """Lay events out, users by items.

        Args:
            user_codes: Ascending; one a row. Events of other users are left out.
            chosen_N: Which events to take; those with an item that training lacks are left out.

        Returns:
            float32 weights, rows sorted, each item once.
        """
        row_N = _position_of(user_codes, self.events.num_users)[self.events.user_N]
        column_N = _position_of(self.item_codes, self.events.num_items)[self.events.item_N]
        taken_N = chosen_N & (row_N >= 0) & (column_N >= 0)
        # Events are sorted by user and item and both maps ascend: this is CSR already.
        length_U = np.bincount(row_N[taken_N], minlength=len(user_codes))
        offset_U1 = np.concatenate([[0], np.cumsum(length_U)])
        return csr_array(
            (self.events.weight_N[taken_N], column_N[taken_N], offset_U1),
            shape=(len(user_codes), len(self.item_codes)),
        )


def _position_of(codes: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    position = np.full(size, -1, dtype=np.int64)
    position[codes] = np.arange(len(codes))
    return position
