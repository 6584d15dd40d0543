"""What is measured: a bundle that is there, or a synthetic one; and the users that ask it."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from service import checkpoint
from service.checkpoint import Checkpoint
from service.histories import History
from training.bench.synthetic import Shape, histories, write_bundle
from training.data.datasets import DataOptions, load_dataset
from training.errors import BadInputError
from training.evaluate import aligned


@final
@dataclass(frozen=True, slots=True)
class Subject:
    """A loaded bundle and where it is.

    Attributes:
        path: A bundle, or a model directory; servers load it from there.
        loaded: The same, on the CPU.
        is_synthetic: Whether nobody trained it.
    """

    path: Path
    loaded: Checkpoint
    is_synthetic: bool

    def describe(self) -> dict[str, Any]:
        """Say what was measured, for JSON."""
        model = self.loaded.model
        return {
            "name": self.loaded.manifest.name,
            "version": self.loaded.version,
            "synthetic": self.is_synthetic,
            "items": model.num_items,
            "hidden": model.item_vectors_IH.shape[1],
            "latent": model.latent_dim,
        }


@contextmanager
def opened(path: Path | None, shape: Shape, seed: int) -> Iterator[Subject]:
    """Load a bundle, or write a synthetic one that is gone afterwards, and load that."""
    if path is not None:
        yield Subject(path, checkpoint.load(path), is_synthetic=False)
        return
    with tempfile.TemporaryDirectory(prefix="foldin-bench-") as folder:
        bundle = write_bundle(shape, Path(folder), seed)
        yield Subject(bundle, checkpoint.load(bundle), is_synthetic=True)


@final
@dataclass(frozen=True, slots=True)
class Users:
    """Who asks.

    Attributes:
        count: Users.
        length: Items that a drawn user has.
        log: Take the test users of this log instead, as many as there are up to ``count``, with
            histories as long as they are. A bundle trained on it has not seen them.
        seed: Start of all chance.
    """

    count: int
    length: int = 100
    log: str | None = None
    seed: int = 0


def drawn_histories(loaded: Checkpoint, users: Users) -> list[History]:
    """Give the histories of users: drawn by popularity, or read.

    Raises:
        BadInputError: A log that cannot be read, or has nothing that the model knows.
    """
    if users.log is None:
        generator = np.random.default_rng(users.seed)
        popularity_I = loaded.catalog.popularity_I
        return histories(popularity_I, users.count, users.length, generator)
    split = load_dataset(users.log, DataOptions()).split
    columns = split.item_ids
    held_out = aligned(split.test, columns, loaded).history
    rows = np.split(held_out.indices.astype(np.int64), held_out.indptr[1:-1])
    known = [History.of(row_N) for row_N in rows if len(row_N)]
    if not known:
        raise BadInputError(f"{users.log}: no test user has an item that the model knows")
    return known[: users.count]
