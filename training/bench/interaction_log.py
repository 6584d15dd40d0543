"""A log of any size with a structure to find: popular items, and users with tastes.

Items belong to clusters, and within a cluster as in the whole catalogue popularity falls as a
power of the rank. A user has a few clusters; most interactions fall on items of theirs, the others
on any item, both by popularity. Popular items alone find what the others fall on, a model what the
tastes are.

The log is drawn some users at a time: of what is drawn only the CSR arrays stay, 8 bytes an
interaction, and the users of a part are the same whatever is done with the parts.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Final, Self, final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from training.data.split import HeldOut, Split

USERS_PER_PART: Final = 50_000
CLUSTERS_PER_USER: Final = 3
# Lengths are log-normal, as those of MovieLens and Gowalla nearly are.
LENGTH_SPREAD: Final = 0.6
SHORTEST: Final = 5
TARGET_SHARE: Final = 0.2


@final
@dataclass(frozen=True, slots=True)
class LogShape:
    """How large a log is, and what is in it.

    Attributes:
        users: U.
        items: I.
        mean_length: Interactions of a user, about; a pair that is drawn twice counts once.
        clusters: Of the items.
        exponent: Of the power law of popularity.
        taste_share: Interactions that fall on a cluster of the user's.
        seed: Start of all chance.
    """

    users: int = 1_000_000
    items: int = 1_000_000
    mean_length: int = 25
    clusters: int = 100
    exponent: float = 1.0
    taste_share: float = 0.8
    seed: int = 0


@final
@dataclass(frozen=True, slots=True)
class _World:
    """The items of a log, cluster after cluster.

    Attributes:
        item_I: The items, those of a cluster together.
        first_C1: Where each cluster begins, and the end of the last.
        mass_I1: Popularity of all items before, cluster after cluster.
        any_I1: The same with the items as they are numbered.
    """

    item_I: NDArray[np.int32]
    first_C1: NDArray[np.int64]
    mass_I1: NDArray[np.float64]
    any_I1: NDArray[np.float64]

    @classmethod
    def of(cls, shape: LogShape) -> Self:
        chance = np.random.default_rng((shape.seed, 0))
        rank_I = chance.permutation(shape.items)
        popularity_I = (rank_I + 10.0) ** -shape.exponent
        cluster_I = chance.integers(shape.clusters, size=shape.items)
        item_I = np.argsort(cluster_I, kind="stable").astype(np.int32)
        first_C1 = np.searchsorted(cluster_I[item_I], np.arange(shape.clusters + 1))
        mass_I1, any_I1 = (
            np.concatenate([[0.0], each.cumsum()]) for each in (popularity_I[item_I], popularity_I)
        )
        return cls(item_I, first_C1, mass_I1, any_I1)

    def of_clusters(
        self, cluster_N: NDArray[np.int64], chance: np.random.Generator
    ) -> NDArray[np.int32]:
        """Draw an item of each cluster, by popularity."""
        low_N = self.mass_I1[self.first_C1[cluster_N]]
        high_N = self.mass_I1[self.first_C1[cluster_N + 1]]
        mass_N = low_N + (high_N - low_N) * chance.random(len(cluster_N))
        place_N = np.searchsorted(self.mass_I1, mass_N, side="right") - 1
        items: NDArray[np.int32] = self.item_I[place_N.clip(max=len(self.item_I) - 1)]
        return items

    def of_all(self, count: int, chance: np.random.Generator) -> NDArray[np.int32]:
        """Draw items of the catalogue, by popularity."""
        mass_N = self.any_I1[-1] * chance.random(count)
        place_N = np.searchsorted(self.any_I1, mass_N, side="right") - 1
        items: NDArray[np.int32] = place_N.clip(max=len(self.item_I) - 1).astype(np.int32)
        return items


def parts(shape: LogShape) -> Iterator[csr_array]:
    """Draw the log, ``USERS_PER_PART`` users at a time.

    Yields:
        float32 [U of the part, I] of ones; rows sorted, each item once.
    """
    world = _World.of(shape)
    for start in range(0, shape.users, USERS_PER_PART):
        chance = np.random.default_rng((shape.seed, 1, start))
        yield _part(shape, world, min(USERS_PER_PART, shape.users - start), chance)


def training_rows(shape: LogShape) -> csr_array:
    """Draw the whole log: float32 [U, I] of ones; rows sorted, each item once."""
    lengths, items = [np.zeros(1, dtype=np.int64)], list[NDArray[np.int32]]()
    for part in parts(shape):
        lengths.append(np.diff(part.indptr).astype(np.int64))
        items.append(part.indices)
    indices = np.concatenate(items)
    items.clear()
    ones = np.ones(len(indices), dtype=np.float32)
    offsets = np.concatenate(lengths).cumsum()
    if offsets[-1] < 2**31:  # as it is here SciPy makes the indices, too
        offsets = offsets.astype(np.int32)
    return csr_array((ones, indices, offsets), shape=(shape.users, shape.items))


def planted_split(shape: LogShape, held_out: int) -> Split:
    """Draw a log with ``held_out`` users more for validation, and as many for test.

    A fifth of a held-out user's items are asked for. Users and items are called by their numbers.
    """
    more = training_rows(replace(shape, users=shape.users + 2 * held_out))
    ends = (shape.users, shape.users + held_out, shape.users + 2 * held_out)
    chance = np.random.default_rng((shape.seed, 2))
    train = more[: shape.users]
    valid, test = (_held_out(more[first:last], first, chance) for first, last in pairwise(ends))
    return Split(
        protocol="planted",
        train=train,
        user_ids=tuple(map(str, range(shape.users))),
        item_ids=tuple(map(str, range(shape.items))),
        valid=valid,
        test=test,
    )


def write_parquet(shape: LogShape, folder: Path) -> None:
    """Write the log as a folder of Parquet files, ``user_id`` and ``item_id``, a file a part."""
    folder.mkdir(parents=True)
    for number, part in enumerate(parts(shape)):
        user_N = np.repeat(np.arange(part.shape[0]), np.diff(part.indptr))
        columns = {"user_id": user_N + number * USERS_PER_PART, "item_id": part.indices}
        pl.DataFrame(columns).write_parquet(folder / f"{number:05}.parquet")


def _part(shape: LogShape, world: _World, num_users: int, chance: np.random.Generator) -> csr_array:
    middle = np.log(shape.mean_length) - LENGTH_SPREAD**2 / 2
    longest = max(SHORTEST, min(1_000, shape.items // 4))
    length_U = chance.lognormal(middle, LENGTH_SPREAD, num_users).round()
    user_N = np.repeat(np.arange(num_users), length_U.clip(SHORTEST, longest).astype(int))
    taste_UT = chance.integers(shape.clusters, size=(num_users, CLUSTERS_PER_USER))
    which_N = chance.integers(CLUSTERS_PER_USER, size=len(user_N))
    item_N = world.of_clusters(taste_UT[user_N, which_N], chance)
    anything_N = chance.random(len(user_N)) >= shape.taste_share
    item_N[anything_N] = world.of_all(int(anything_N.sum()), chance)
    key_N = np.unique(user_N * np.int64(shape.items) + item_N)
    counts_U = np.bincount(key_N // shape.items, minlength=num_users)
    return csr_array(
        (
            np.ones(len(key_N), dtype=np.float32),
            (key_N % shape.items).astype(np.int32),
            np.concatenate([[0], counts_U.cumsum()]).astype(np.int32),
        ),
        shape=(num_users, shape.items),
    )


def _held_out(rows: csr_array, first: int, chance: np.random.Generator) -> HeldOut:
    asked_N = chance.random(rows.nnz) < TARGET_SHARE
    return HeldOut(
        history=_kept(rows, ~asked_N),
        target=_kept(rows, asked_N),
        user_ids=tuple(map(str, range(first, first + rows.shape[0]))),
        user_index_U=np.full(rows.shape[0], -1),
    )


def _kept(rows: csr_array, kept_N: NDArray[np.bool_]) -> csr_array:
    counts_1N = np.concatenate([[0], kept_N.cumsum()])
    entries = (rows.data[kept_N], rows.indices[kept_N], counts_1N[rows.indptr])
    return csr_array(entries, shape=rows.shape)
