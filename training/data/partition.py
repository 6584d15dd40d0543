"""Which part of a split each interaction belongs to: drawn, cut by time, or given by the log."""

from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.data.events import Events
from training.data.interactions import STRONG_PARTS, TRAIN, WEAK_PARTS
from training.errors import BadInputError

PART_CODES: Final = {name: code for code, name in enumerate((TRAIN, *WEAK_PARTS, *STRONG_PARTS))}
# Liang et al. (2018): a user with fewer events has them all as history and no target.
MIN_EVENTS_FOR_TARGET: Final = 5
# 0.29 * 100 is 28.999999999999996: a share must not lose one to that.
ROUNDING: Final = 1e-9


def hold_out_users(
    events: Events, user_fraction: float, target_fraction: float, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Draw users for validation and for test, then a target from each of them.

    Args:
        events: All of the users that may be drawn.
        user_fraction: Share of the users for validation, and the same again for test.
        target_fraction: Share of a held-out user's known items that is asked for, rounded down.
        generator: Chance.

    Returns:
        The code of a part of strong generalization for each event. An item that no training user
        has is history: it can be shown, never asked for, and counts towards no share.

    Raises:
        BadInputError: The share of so few users is nobody.
    """
    num_users = events.num_users
    num_held_out = int(user_fraction * num_users + ROUNDING)
    if num_held_out == 0:
        raise BadInputError(
            f"{num_users} users are too few to hold {user_fraction:.0%} of them out; "
            "use more data or the weak protocol"
        )
    user_U = generator.permutation(num_users)
    part_U = np.full(num_users, PART_CODES[TRAIN])
    part_U[user_U[-2 * num_held_out :]] = PART_CODES["valid_history"]
    part_U[user_U[-num_held_out:]] = PART_CODES["test_history"]
    part_N = part_U[events.user_N]
    trained_N = part_N == PART_CODES[TRAIN]
    candidate_N = ~trained_N & events.has_item_of(trained_N)
    candidates = events.where(candidate_N)
    count_N = candidates.count_of_user_N()
    num_targets_N = np.floor(target_fraction * count_N + ROUNDING)
    num_targets_N[count_N < MIN_EVENTS_FOR_TARGET] = 0
    target_N = np.zeros(len(events), dtype=np.bool_)
    target_N[candidate_N] = candidates.random_ranks(generator) < num_targets_N
    part_N[target_N & (part_N == PART_CODES["valid_history"])] = PART_CODES["valid_target"]
    part_N[target_N & (part_N == PART_CODES["test_history"])] = PART_CODES["test_target"]
    return part_N


def hold_out_events(
    events: Events, fraction: float, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Draw from every user's events some for test and as many for validation.

    Args:
        events: Of all users.
        fraction: Share for test, and again for validation, to the nearest whole number: of 5
            events, a tenth is 1.
        generator: Chance.

    Returns:
        The code of a part of weak generalization for each event.
    """
    rank_N = events.random_ranks(generator)
    count_N = _nearest_share(events, fraction)
    part_N = np.full(len(events), PART_CODES[TRAIN])
    part_N[rank_N < 2 * count_N] = PART_CODES["valid"]
    part_N[rank_N < count_N] = PART_CODES["test"]
    return part_N


def hold_out_late(time_N: NDArray[np.generic], fraction: float) -> NDArray[np.int64]:
    """Cut all events at two points in time.

    Args:
        time_N: When each event happened; events of one moment stay together.
        fraction: Share of the events, the latest, for test, and of those before for validation.

    Returns:
        The code of a part of weak generalization for each event.
    """
    sorted_N = np.sort(time_N)
    valid_from = sorted_N[int((1 - 2 * fraction) * len(time_N) + ROUNDING)]
    test_from = sorted_N[int((1 - fraction) * len(time_N) + ROUNDING)]
    part_N = np.full(len(time_N), PART_CODES[TRAIN])
    part_N[time_N >= valid_from] = PART_CODES["valid"]
    part_N[time_N >= test_from] = PART_CODES["test"]
    return part_N


def given_parts(
    events: Events, frame: pl.DataFrame, fraction: float, generator: np.random.Generator
) -> tuple[NDArray[np.int64], bool]:
    """Take the parts that a log names itself.

    Args:
        events: Of all rows.
        frame: The rows, with ``split``, in the order of the events.
        fraction: Share of a user's ``train`` rows that becomes ``valid`` where a weak split has
            none, to the nearest whole number.
        generator: Chance, for that share.

    Returns:
        The code of a part for each event, and whether they are those of strong generalization.

    Raises:
        BadInputError: A part is missing, or a user of a strong split is on two sides.
    """
    part_N = frame["split"].replace_strict(PART_CODES, return_dtype=pl.Int64).to_numpy().copy()
    present = set(frame["split"].unique())
    is_strong = not present.isdisjoint(STRONG_PARTS)
    for name in (TRAIN, *(STRONG_PARTS if is_strong else ["test"])):
        if name not in present:
            raise BadInputError(f"column 'split': no row says {name!r}; add such rows")
    if is_strong:
        _refuse_user_on_two_sides(frame)
    elif "valid" not in present:
        train_N = part_N == PART_CODES[TRAIN]
        train = events.where(train_N)
        chosen_N = train.random_ranks(generator) < _nearest_share(train, fraction)
        part_N[train_N] = np.where(chosen_N, PART_CODES["valid"], PART_CODES[TRAIN])
    return part_N, is_strong


def _nearest_share(events: Events, fraction: float) -> NDArray[np.floating]:
    share_N: NDArray[np.floating] = np.floor(fraction * events.count_of_user_N() + 0.5 + ROUNDING)
    return share_N


def _refuse_user_on_two_sides(frame: pl.DataFrame) -> None:
    side = pl.col("split").str.extract("^(train|valid|test)")
    astray = frame.filter(side.n_unique().over("user_id") > 1)
    if not astray.is_empty():
        user_id = astray["user_id"][0]
        names = ", ".join(astray.filter(pl.col("user_id") == user_id)["split"].unique().sort())
        raise BadInputError(
            f"column 'split': user {user_id!r} has rows that say {names}; a held-out user has "
            "none in training (else name the parts train, valid and test)"
        )
