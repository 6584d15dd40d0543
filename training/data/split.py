"""Training users, validation and test: who is held out, and what of them is asked for.

Strong generalization follows Liang et al., "Variational Autoencoders for Collaborative
Filtering", WWW 2018 (arXiv:1802.05814), in its order: users with few interactions go, users are
drawn, training users decide which items exist, all other items go, and only then is each held-out
user cut into a history and a target.
"""

from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from training.data.grid import Grid
from training.data.interactions import PART_CODES, TRAIN, InteractionLog
from training.data.partition import (
    Parts,
    given_parts,
    hold_out_events,
    hold_out_late,
    hold_out_users,
)
from training.errors import BadInputError

Protocol = Literal["strong", "weak", "time"]


@final
@dataclass(frozen=True, slots=True)
class SplitOptions:
    """How to split a log that has no ``split`` column.

    Attributes:
        protocol: ``strong``: held-out users the model never saw. ``weak``: some interactions of
            every user are held out. ``time``: all interactions after a point in time are.
        seed: Start of all chance.
        held_out_fraction: Users (strong) or interactions (weak, time) for validation, and as many
            again for test.
        min_user_items: Users with fewer interactions are left out.
        target_fraction: Interactions of a held-out user that are asked for (strong).
    """

    protocol: Protocol = "strong"
    seed: int = 98765
    held_out_fraction: float = 0.1
    min_user_items: int = 5
    target_fraction: float = 0.2


@final
@dataclass(frozen=True, slots=True)
class HeldOut:
    """U users to measure with.

    Attributes:
        history: float32 [U, I], what a model is shown; rows sorted, each item once.
        target: float32 [U, I], what it should find. Users with an empty row stay: metrics leave
            them out and count them.
        user_ids: One a row, ascending.
        user_index_U: int64; the user's row in training, -1 for a user the model never saw.
    """

    history: csr_array
    target: csr_array
    user_ids: tuple[str, ...]
    user_index_U: NDArray[np.int64]

    @property
    def num_without_target(self) -> int:
        """Users that nothing is asked for."""
        return int(np.count_nonzero(np.diff(self.target.indptr) == 0))


@final
@dataclass(frozen=True, slots=True)
class Split:
    """A log, ready for training and measuring.

    Ids ascend: by value where all users' (all items') ids of the log are decimal numbers, else as
    text.

    Attributes:
        protocol: ``strong``, ``weak`` or ``time``; ``given-strong`` or ``given-weak`` where the
            log said itself which row is what.
        train: float32 [U, I], weights (1 without); rows sorted, each item once.
        user_ids: Training users, one a row, ascending.
        item_ids: Items that some training user has, one a column, ascending.
        valid: For choosing between models.
        test: For the figures that are told.
    """

    protocol: str
    train: csr_array
    user_ids: tuple[str, ...]
    item_ids: tuple[str, ...]
    valid: HeldOut
    test: HeldOut


def make_split(log: InteractionLog, options: SplitOptions) -> Split:
    """Split a log as it says itself, or as the options say.

    In the weak and time protocols the history of a validation user is the user's training row,
    that of a test user the training row and the validation items.

    Args:
        log: Positive interactions. Its ``split`` column wins over the options: no user is left
            out for having few items. A weak one without ``valid`` rows gives a tenth
            (``held_out_fraction``) of each user's training rows to validation.
        options: Protocol and chance.

    Raises:
        BadInputError: Too few users or interactions, no timestamps for ``time``, or a ``split``
            column that lacks a part or has a user on two sides.
    """
    generator = np.random.default_rng(options.seed)
    fraction = options.held_out_fraction
    if "split" in log:
        part_N, is_strong = given_parts(log, fraction, generator)
        if is_strong:
            return _strong("given-strong", log, part_N)
        return weak_split("given-weak", log, part_N)
    log = _without_small_users(log, options.min_user_items)
    if options.protocol == "strong":
        part_N = hold_out_users(log, fraction, options.target_fraction, generator)
        return _strong("strong", log, part_N)
    if options.protocol == "weak":
        return weak_split("weak", log, hold_out_events(log, fraction, generator))
    if "timestamp" not in log:
        raise BadInputError(
            "the time protocol needs timestamps; name their column with --columns timestamp=NAME"
        )
    return weak_split("time", log, hold_out_late(log.values["timestamp"], fraction))


def _without_small_users(log: InteractionLog, min_items: int) -> InteractionLog:
    is_large_U = log.length_U >= min_items
    if not is_large_U.any():
        raise BadInputError(f"no user has {min_items} positive interactions; use more data")
    return log if is_large_U.all() else log.where(log.by_user(is_large_U))


def _strong(protocol: str, log: InteractionLog, part_N: Parts) -> Split:
    grid = Grid.of(log, part_N == PART_CODES[TRAIN])

    def held_out(name: str) -> HeldOut:
        history_N = part_N == PART_CODES[f"{name}_history"]
        target_N = part_N == PART_CODES[f"{name}_target"]
        user_codes = np.flatnonzero(log.counts_U(history_N | target_N))
        return _held_out(grid, user_codes, grid.matrix(user_codes, history_N), target_N)

    train = grid.matrix(grid.user_codes, part_N == PART_CODES[TRAIN])
    return _split(protocol, grid, train, (held_out("valid"), held_out("test")))


def weak_split(protocol: str, log: InteractionLog, part_N: Parts) -> Split:
    """Split the rows of the same users, by the code of a part of each row.

    Raises:
        BadInputError: Nothing is left to measure with.
    """
    train_N = part_N == PART_CODES[TRAIN]
    valid_N = part_N == PART_CODES["valid"]
    test_N = part_N == PART_CODES["test"]
    grid = Grid.of(log, train_N)
    train = grid.matrix(grid.user_codes, train_N)

    def held_out(history_N: NDArray[np.bool_], target_N: NDArray[np.bool_]) -> HeldOut:
        user_codes = np.intersect1d(np.flatnonzero(log.counts_U(target_N)), grid.user_codes)
        if history_N is train_N and len(user_codes) == len(grid.user_codes):
            return _held_out(grid, user_codes, train, target_N)  # one matrix: it is the largest
        return _held_out(grid, user_codes, grid.matrix(user_codes, history_N), target_N)

    valid = held_out(train_N, valid_N)
    test = held_out(train_N | valid_N, test_N)
    return _split(protocol, grid, train, (valid, test))


def _held_out(
    grid: Grid,
    user_codes: NDArray[np.int64],
    history: csr_array,
    target_N: NDArray[np.bool_],
) -> HeldOut:
    return HeldOut(
        history=history,
        target=grid.matrix(user_codes, target_N),
        user_ids=tuple(grid.log.user_ids.gather(user_codes)),
        user_index_U=grid.rows_of(user_codes),
    )


def _split(protocol: str, grid: Grid, train: csr_array, held_out: tuple[HeldOut, HeldOut]) -> Split:
    for name, part in zip(("validation", "test"), held_out, strict=True):
        if part.target.nnz == 0:
            raise BadInputError(
                f"nothing to measure in the {name} part of the {protocol} split: no held-out user "
                f"has an item left that training users have; use more data or another protocol"
            )
    valid, test = held_out
    return Split(
        protocol=protocol,
        train=train,
        user_ids=grid.user_ids,
        item_ids=grid.item_ids,
        valid=valid,
        test=test,
    )
