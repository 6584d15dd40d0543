"""Pairs of a user and an item as one number each, which sorts as the pairs do."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

USER_SHIFT: Final = np.uint64(32)
ITEM_MASK: Final = np.uint64(2**32 - 1)
KEY_BITS: Final = 64
BLOCK_ROWS: Final = 1 << 20  # what passes through temporary arrays at once, 8 MB each


def row_blocks(size: int) -> Iterator[slice]:
    """Cut so many rows into blocks: what is made of one is never as large as a column."""
    for start in range(0, size, BLOCK_ROWS):
        yield slice(start, min(start + BLOCK_ROWS, size))


def paired(user_N: NDArray[np.uint32], item_N: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """Put the user's code into the upper half of a number, and the item's into the lower."""
    pair_N = user_N.astype(np.uint64)
    pair_N <<= USER_SHIFT
    pair_N |= item_N
    return pair_N


def users_of(pair_N: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """Give the upper halves."""
    return (pair_N >> USER_SHIFT).astype(np.uint32)


def items_of(pair_N: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """Give the lower halves."""
    return pair_N.astype(np.uint32)  # the conversion drops the upper bits


def items_in_place(pair_N: NDArray[np.uint64]) -> NDArray[np.int32]:
    """Give the lower halves in the memory of the pairs, of which nothing is left.

    Args:
        pair_N: An array of its own, which nobody else looks into.
    """
    size = len(pair_N)
    half_N = pair_N.view(np.int32)
    for rows in row_blocks(size):  # what is overwritten was read before: it is half as wide
        half_N[rows] = items_of(pair_N[rows]).view(np.int32)
    del half_N
    pair_N.resize((size + 1) // 2, refcheck=False)
    return pair_N.view(np.int32)[:size]


def sort_pairs(
    pair_N: NDArray[np.uint64],
    user_rank_U: NDArray[np.uint32],
    item_rank_I: NDArray[np.uint32],
    key_bits: int = KEY_BITS,
) -> NDArray[Any]:
    """Give users and items other codes and sort the pairs, in place; equal ones keep their order.

    Args:
        pair_N: The pairs; sorted and with new codes afterwards.
        user_rank_U: The new code of every old one.
        item_rank_I: Likewise.
        key_bits: Of a number that can be sorted.

    Returns:
        Where each of the sorted pairs was before; uint32 or int64.
    """
    row_bits = len(pair_N).bit_length()
    item_bits = len(item_rank_I).bit_length()
    has_room = len(user_rank_U).bit_length() + item_bits + row_bits <= key_bits
    # The row goes into the number, too: 20 million pairs are then sorted in no memory but their
    # own. Where user, item and row have more than 64 bits, the order is a second array.
    shift = np.uint64(row_bits if has_room else 0)
    user_shift = np.uint64(row_bits + item_bits) if has_room else USER_SHIFT
    for rows in row_blocks(len(pair_N)):
        user = user_rank_U[users_of(pair_N[rows])].astype(np.uint64) << user_shift
        item = item_rank_I[items_of(pair_N[rows])].astype(np.uint64) << shift
        pair_N[rows] = user | item
        if has_room:
            pair_N[rows] |= np.arange(rows.start, rows.stop, dtype=np.uint64)
    if not has_room:
        order_N = np.argsort(pair_N, kind="stable")
        pair_N[:] = pair_N[order_N]
        return order_N
    pair_N.sort()
    return _unpack(pair_N, item_bits, row_bits)


def _unpack(pair_N: NDArray[np.uint64], item_bits: int, row_bits: int) -> NDArray[np.uint32]:
    """Take the rows out of the numbers, and bring users and items back to their halves."""
    row_mask, item_mask = np.uint64((1 << row_bits) - 1), np.uint64((1 << item_bits) - 1)
    order_N = np.empty(len(pair_N), dtype=np.uint32)
    for rows in row_blocks(len(pair_N)):
        key = pair_N[rows]
        order_N[rows] = key & row_mask
        key = key >> np.uint64(row_bits)
        pair_N[rows] = (key >> np.uint64(item_bits)) << USER_SHIFT | (key & item_mask)
    return order_N
