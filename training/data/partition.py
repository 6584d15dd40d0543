"""Which part of a split each interaction belongs to: drawn, cut by time, or given by the log."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from training.data.interactions import (
    PART_CODES,
    PART_NAMES,
    STRONG_PARTS,
    TRAIN,
    WEAK_PARTS,
    InteractionLog,
    user_blocks,
)
from training.errors import BadInputError

Parts = NDArray[np.int8]
# Liang et al. (2018): a user with fewer events has them all as history and no target.
MIN_EVENTS_FOR_TARGET: Final = 5
SIDES: Final = (TRAIN, *WEAK_PARTS)
# 0.29 * 100 is 28.999999999999996: a share must not lose one to that.
ROUNDING: Final = 1e-9


def hold_out_users(
    log: InteractionLog,
    user_fraction: float,
    target_fraction: float,
    generator: np.random.Generator,
) -> Parts:
    """Draw users for validation and for test, then a target from each of them.

    Args:
        log: All of the users that may be drawn.
        user_fraction: Share of the users for validation, and the same again for test.
        target_fraction: Share of a held-out user's known items that is asked for, rounded down.
        generator: Chance.

    Returns:
        The code of a part of strong generalization for each row. An item that no training user
        has is history: it can be shown, never asked for, and counts towards no share.

    Raises:
        BadInputError: The share of so few users is nobody.
    """
    num_users = log.num_users
    num_held_out = int(user_fraction * num_users + ROUNDING)
    if num_held_out == 0:
        raise BadInputError(
            f"{num_users} users are too few to hold {user_fraction:.0%} of them out; "
            "use more data or the weak protocol"
        )
    user_U = generator.permutation(num_users)
    part_U = np.full(num_users, PART_CODES[TRAIN], dtype=np.int8)
    part_U[user_U[-2 * num_held_out :]] = PART_CODES["valid_history"]
    part_U[user_U[-num_held_out:]] = PART_CODES["test_history"]
    part_N: Parts = log.by_user(part_U)
    trained_N = part_N == PART_CODES[TRAIN]
    candidate_N = ~trained_N & log.items_in(trained_N)[log.item_N]
    count_U = log.counts_U(candidate_N)
    num_targets_U = np.floor(target_fraction * count_U + ROUNDING)
    num_targets_U[count_U < MIN_EVENTS_FOR_TARGET] = 0
    target_N = np.zeros(len(log), dtype=np.bool_)
    target_N[candidate_N] = random_ranks(count_U, generator) < np.repeat(
        num_targets_U.astype(np.int32), count_U
    )
    part_N[target_N & (part_N == PART_CODES["valid_history"])] = PART_CODES["valid_target"]
    part_N[target_N & (part_N == PART_CODES["test_history"])] = PART_CODES["test_target"]
    return part_N


def hold_out_events(log: InteractionLog, fraction: float, generator: np.random.Generator) -> Parts:
    """Draw from every user's rows some for test and as many for validation.

    Args:
        log: Of all users.
        fraction: Share for test, and again for validation, to the nearest whole number: of 5
            rows, a tenth is 1.
        generator: Chance.

    Returns:
        The code of a part of weak generalization for each row.
    """
    rank_N = random_ranks(log.length_U, generator)
    count_N = log.by_user(_nearest_share(log.length_U, fraction))
    part_N = np.full(len(log), PART_CODES[TRAIN], dtype=np.int8)
    part_N[rank_N < 2 * count_N] = PART_CODES["valid"]
    part_N[rank_N < count_N] = PART_CODES["test"]
    return part_N


def hold_out_late(time_N: NDArray[Any], fraction: float) -> Parts:
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
    part_N = np.full(len(time_N), PART_CODES[TRAIN], dtype=np.int8)
    part_N[time_N >= valid_from] = PART_CODES["valid"]
    part_N[time_N >= test_from] = PART_CODES["test"]
    return part_N


def given_parts(
    log: InteractionLog, fraction: float, generator: np.random.Generator
) -> tuple[Parts, bool]:
    """Take the parts that a log names itself.

    Args:
        log: With ``split``.
        fraction: Share of a user's ``train`` rows that becomes ``valid`` where a weak split has
            none, to the nearest whole number.
        generator: Chance, for that share.

    Returns:
        The code of a part for each row, and whether they are those of strong generalization.

    Raises:
        BadInputError: A part is missing, or a user of a strong split is on two sides.
    """
    part_N: Parts = log.values["split"].copy()
    present = {PART_NAMES[code] for code in np.unique(part_N)}
    is_strong = not present.isdisjoint(STRONG_PARTS)
    for name in (TRAIN, *(STRONG_PARTS if is_strong else ["test"])):
        if name not in present:
            raise BadInputError(f"column 'split': no row says {name!r}; add such rows")
    if is_strong:
        _refuse_user_on_two_sides(log, part_N)
    elif "valid" not in present:
        train_N = part_N == PART_CODES[TRAIN]
        count_U = log.counts_U(train_N)
        share_N = np.repeat(_nearest_share(count_U, fraction), count_U)
        chosen_N = random_ranks(count_U, generator) < share_N
        part_N[train_N] = np.where(chosen_N, PART_CODES["valid"], PART_CODES[TRAIN])
    return part_N, is_strong


def random_ranks(count_U: NDArray[np.int64], generator: np.random.Generator) -> NDArray[np.int32]:
    """Shuffle the rows of every user: each gets a place, from 0 up, among its user's.

    Args:
        count_U: Rows of each user, whose rows stand together.
        generator: Chance; one draw a row, in their order.
    """
    offset_U1 = np.concatenate([[0], np.cumsum(count_U)])
    rank_N = np.empty(offset_U1[-1], dtype=np.int32)
    for users in user_blocks(offset_U1):  # the draws alone would be twice the indices of a CSR
        count_B = count_U[users]
        start, stop = offset_U1[users.start], offset_U1[users.stop]
        user_N = np.repeat(np.arange(len(count_B)), count_B)
        order_N = np.lexsort((generator.random(stop - start), user_N))
        # Users ascend in both orders: a user's shuffled rows begin where the sorted ones do.
        place_N = np.arange(stop - start) - np.repeat(offset_U1[users] - start, count_B)
        rank_N[start:stop][order_N] = place_N
    return rank_N


def _nearest_share(count_U: NDArray[np.int64], fraction: float) -> NDArray[np.int32]:
    share_U: NDArray[np.int32] = np.floor(fraction * count_U + 0.5 + ROUNDING).astype(np.int32)
    return share_U


def _refuse_user_on_two_sides(log: InteractionLog, part_N: Parts) -> None:
    sides = [
        np.isin(part_N, [PART_CODES[name] for name in PART_NAMES if name.startswith(side)])
        for side in SIDES
    ]
    astray_U = np.sum([log.counts_U(side_N) > 0 for side_N in sides], axis=0) > 1
    if astray_U.any():
        user = int(astray_U.argmax())
        rows = slice(log.offset_U1[user], log.offset_U1[user + 1])
        names = ", ".join(sorted({PART_NAMES[code] for code in part_N[rows]}))
        raise BadInputError(
            f"column 'split': user {log.user_ids[user]!r} has rows that say {names}; a held-out "
            "user has none in training (else name the parts train, valid and test)"
        )
