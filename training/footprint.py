"""What a full-rank linear model takes at its peak, told before the first byte is allocated."""

from typing import Final

import numpy as np
from scipy.sparse import csr_array

from training.errors import BadInputError
from training.evaluate import USERS_PER_BLOCK
from training.inverse import held_beside
from training.memory import available_bytes, told

# Rows of a block at most, and the numbers in one: 32 MB of float64, however large a catalogue is.
BLOCK: Final = 1024
BLOCK_NUMBERS: Final = 4_000_000
# What may be left of an item-item matrix after pruning: 800 MB at 8 bytes each.
MAX_WEIGHTS: Final = 100_000_000
# Rows from which the size of the smallest weight to keep is read.
SAMPLED_ROWS: Final = 512
# By how much the weights that are left may outnumber those that the sample promises.
SAMPLING_ERROR: Final = 1.1
# Buffers of BLAS and of the allocator, whatever the size of the log.
OVERHEAD_BYTES: Final = 64_000_000


def block_rows(width: int) -> int:
    """Tell how many rows of ``width`` numbers make a block, one at least."""
    return max(1, min(BLOCK, BLOCK_NUMBERS // max(width, 1)))


def most_weights(num_items: int) -> int:
    """Tell how many weights may be left of an item-item matrix."""
    return min(num_items**2, round(SAMPLING_ERROR * MAX_WEIGHTS))


def needed_bytes(train: csr_array) -> int:
    """Give an upper estimate of what a fit takes at its peak, validation and pruning included.

    Throughout there are the inverse and copies of the log; of what comes one after the other the
    largest counts. Bytes a number are those of the arrays that live at once in these places.

    Args:
        train: [U, I], the training log.
    """
    num_users, num_items = train.shape
    side = min(num_users, num_items)
    fill = 20 * side * block_rows(side)
    closed_form = 16 * USERS_PER_BLOCK * (num_items + side)
    sample = 8 * num_items * min(SAMPLED_ROWS, num_items)
    inversion = 8 * held_beside(side)
    largest = max(fill, inversion, closed_form, sample, _pruning_bytes(train))
    return 8 * side**2 + 64 * train.nnz + largest + OVERHEAD_BYTES


def refuse_if_too_large(train: csr_array) -> None:
    """Refuse what memory cannot hold.

    Raises:
        BadInputError: With what is needed, what there is, and what to do.
    """
    needed, free = needed_bytes(train), available_bytes()
    if free is not None and needed > free:
        num_users, num_items = train.shape
        raise BadInputError(
            f"a full-rank linear model needs {told(needed)} for {num_users:,} users and "
            f"{num_items:,} items, {told(free)} are free: use elsa (low rank), or raise "
            "the minimum count of an item"
        )


def _pruning_bytes(train: csr_array) -> int:
    """Estimate what choosing the weights to keep takes, measured on validation users each time."""
    num_items = train.shape[1]
    weights = most_weights(num_items)
    block = 32 * num_items * block_rows(num_items)
    # The matrix, while it is filled; two matrices, while one is made of the other; the same two,
    # while one ranks.
    filled, halved, ranked = 8 * weights + block, 18 * weights, 16 * weights
    # A history adds up the rows of its items, and popular items have more than the mean.
    longest = int(np.diff(train.indptr).max(initial=0))
    row_length = min(num_items, 2 * weights // max(num_items, 1))
    ranked += 20 * USERS_PER_BLOCK * num_items + 32 * longest * row_length
    return max(filled, halved, ranked)
