"""A small log with a structure that any model must find: users like one of three blocks."""

import numpy as np
import polars as pl
import pytest
from scipy.sparse import csr_array

from service.catalog import Catalog
from training.data.assembly import log_of
from training.data.datasets import Dataset
from training.data.interactions import InteractionLog
from training.data.ratings import rating_split
from training.data.split import HeldOut, Split, SplitOptions

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


@pytest.fixture(scope="session")
def planted(planted_split: Split) -> Dataset:
    """The planted log with a catalogue, in which the block of an item is its category."""
    blocks = [item * NUM_BLOCKS // NUM_ITEMS for item in range(NUM_ITEMS)]
    catalog = Catalog(
        item_ids=planted_split.item_ids,
        titles=("",) * NUM_ITEMS,
        categories=tuple((f"block {block}",) for block in blocks),
        popularity_I=np.bincount(planted_split.train.indices, minlength=NUM_ITEMS),
    )
    return Dataset("planted", planted_split, catalog, None, "fingerprint", ())


@pytest.fixture(scope="session")
def rated_log() -> InteractionLog:
    """Ratings of rank two around 3, 1 to 5, half of all; a network finds what a mean cannot."""
    generator = np.random.default_rng(8)
    taste_UI = generator.normal(size=(150, 2)) @ generator.normal(size=(2, 60))
    rating_UI = np.clip(3 + taste_UI + 0.1 * generator.normal(size=taste_UI.shape), 1, 5)
    user_N, item_N = (generator.random(rating_UI.shape) < 0.5).nonzero()
    return log_of(
        pl.DataFrame(
            {
                "user_id": [f"u{user:03}" for user in user_N],
                "item_id": [f"i{item:02}" for item in item_N],
                "rating": rating_UI[user_N, item_N],
            }
        )
    )


@pytest.fixture(scope="session")
def rated(rated_log: InteractionLog) -> Dataset:
    """The rated log, split by ratings, with a catalogue."""
    split, ratings = rating_split(rated_log, SplitOptions())
    size = len(split.item_ids)
    popularity_I = np.bincount(split.train.indices, minlength=size)
    catalog = Catalog(split.item_ids, ("",) * size, ((),) * size, popularity_I)
    return Dataset("rated", split, catalog, None, "fingerprint", (), ratings=ratings)
