"""A small log with a structure that any model must find: users like one of three blocks."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from training.data.split import HeldOut, Split

NUM_ITEMS = 45
NUM_BLOCKS = 3


def planted_rows(num_users: int, generator: np.random.Generator) -> csr_array:
    """Give each user ten items of one block, and one of another."""
    block = NUM_ITEMS // NUM_BLOCKS
    matrix = np.zeros((num_users, NUM_ITEMS), dtype=np.float32)
    for user in range(num_users):
        own = user % NUM_BLOCKS
        matrix[user, own * block + generator.choice(block, 10, replace=False)] = 1
        matrix[user, generator.integers(NUM_ITEMS)] = 1
    return csr_array(matrix)


def held_out(num_users: int, generator: np.random.Generator, prefix: str) -> HeldOut:
    rows = planted_rows(num_users, generator).toarray()
    chosen = generator.random(rows.shape) < 0.3
    return HeldOut(
        history=csr_array(rows * ~chosen),
        target=csr_array(rows * chosen),
        user_ids=tuple(f"{prefix}{user}" for user in range(num_users)),
        user_index_U=np.full(num_users, -1),
    )


@pytest.fixture(scope="session")
def planted_split() -> Split:
    generator = np.random.default_rng(5)
    return Split(
        protocol="strong",
        train=planted_rows(150, generator),
        user_ids=tuple(f"t{user}" for user in range(150)),
        item_ids=tuple(f"i{item}" for item in range(NUM_ITEMS)),
        valid=held_out(30, generator, "v"),
        test=held_out(30, generator, "s"),
    )
