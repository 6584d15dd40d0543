"""Data sets, ready to train on: a log, its split, its catalogue, and what to tell about them."""

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import orjson
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.sparse import csr_array

from service.catalog import Catalog
from training.data.interactions import LOG_COLUMNS, InteractionLog, positives
from training.data.items import ITEM_COLUMNS, make_catalog, read_items
from training.data.log_cache import LogCache
from training.data.log_reader import UNWATCHED, ReadingWatcher, read_log
from training.data.movielens import read_movielens_small
from training.data.pairs import BLOCK_ROWS
from training.data.ratings import Ratings, rating_split
from training.data.split import Protocol, Split, SplitOptions, make_split
from training.data.tables import is_glob
from training.errors import BadInputError

# A name, and what reads the log and the items of that data set.
NAMED: Final[Mapping[str, Callable[[], tuple[InteractionLog, pl.DataFrame]]]] = {
    "movielens-small": read_movielens_small,
}


@final
class DataOptions(BaseModel):
    """How to read a log and split it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: dict[str, str] = Field(default_factory=dict)
    """What the files call our columns, of the log and of the items, where they differ."""

    items: Path | None = None
    """Titles and categories; without them the catalogue has ids only."""

    protocol: Protocol = "strong"
    """How to hold out; a ``split`` column in the log wins."""

    positive_threshold: float | None = None
    """Ratings from here up are positive; 4 on scales that end at 5, else it must be said."""

    split_seed: int = Field(default=98765, ge=0)
    """Start of the chance that draws held-out users and targets."""

    min_user_items: int = Field(default=5, ge=1)
    """Users with fewer positive interactions are left out."""

    cache: Path | None = None
    """Folder for logs that were read before; None: read the files every time."""

    ratings: bool = False
    """Whether ratings are learned: all of them, the low ones too, and some ratings held out."""


@final
@dataclass(frozen=True, slots=True)
class Dataset:
    """What a model is trained on.

    Attributes:
        name: The data set's name, or that of its file without the ending.
        split: Training and held-out users.
        catalog: The items of the split, in its order; popularity counts training users.
        positive_threshold: Ratings from here up were positive; None without ratings.
        fingerprint: sha256 over ids and matrices: equal data, equal fingerprint, however the
            rows of the file were ordered.
        notes: Lines that tell the user what was done to the data.
        split_seed: Start of the chance of the split.
        ratings: Where the weights of the split are ratings, what belongs to them.
    """

    name: str
    split: Split
    catalog: Catalog
    positive_threshold: float | None
    fingerprint: str
    notes: tuple[str, ...]
    split_seed: int = 98765
    ratings: Ratings | None = None


def load_dataset(source: str, options: DataOptions, watcher: ReadingWatcher = UNWATCHED) -> Dataset:
    """Read, check and split.

    Args:
        source: A key of ``NAMED``, or a file, a glob or a folder of Parquet files.
        options: How.
        watcher: Told how far the reading is.

    Raises:
        BadInputError: One line that says what is wrong, where, and what to do.
    """
    how = SplitOptions(
        protocol=options.protocol,
        seed=options.split_seed,
        min_user_items=options.min_user_items,
    )
    is_named = source in NAMED
    log, items, notes = (
        _read_named(source, options) if is_named else _read_files(source, options, watcher)
    )
    notes += _notes_on_duplicates(log)
    num_users, num_items = log.num_users, log.num_items
    # What nobody asks for any more is not copied on: of 20 million rows each column is 80 MB.
    log = log if options.protocol == "time" else log.without("timestamp")
    threshold, ratings = None, None
    if options.ratings:
        split, ratings = rating_split(log, how)
        notes += (_note_on_ratings(split, ratings),)
    else:
        num_rows, scale = len(log), log.rating_range() if "rating" in log else None
        log, threshold = positives(log, options.positive_threshold)
        notes += _notes_on_threshold(threshold, scale, (len(log), num_rows))
        log = log.without("rating")
        split = make_split(log, how)
        notes += tuple(_notes_on_split(split, num_users, num_items))
    return Dataset(
        name=source if is_named else Path(source).name.partition(".")[0],
        split=split,
        catalog=make_catalog(items, split.item_ids, _popularity(split.train)),
        positive_threshold=threshold,
        fingerprint=_fingerprint(split),
        notes=notes,
        split_seed=options.split_seed,
        ratings=ratings,
    )


Read = tuple[InteractionLog, pl.DataFrame | None, tuple[str, ...]]


def _read_named(source: str, options: DataOptions) -> Read:
    if options.columns or options.items:
        raise BadInputError(f"{source} brings its own items and columns; leave both options out")
    return *NAMED[source](), ()


def _read_files(source: str, options: DataOptions, watcher: ReadingWatcher) -> Read:
    known = dict.fromkeys((*LOG_COLUMNS, *ITEM_COLUMNS))
    for ours in options.columns:
        if ours not in known:
            raise BadInputError(f"--columns: no column is {ours!r}; there are: {', '.join(known)}")
    path = Path(source)
    if not path.exists() and not is_glob(path):
        raise BadInputError(
            f"{source!r} is no file, no folder and no named data set; names: {', '.join(NAMED)}"
        )
    columns = _those(LOG_COLUMNS, options.columns)
    notes: tuple[str, ...] = ()
    if options.cache is None:
        log = read_log(path, columns, watcher)
    else:
        log, notes = LogCache(options.cache).read(path, columns, watcher)
    if options.items is None:
        return log, None, notes
    return log, read_items(options.items, _those(ITEM_COLUMNS, options.columns)), notes


def _those(ours: Collection[str], columns: Mapping[str, str]) -> dict[str, str]:
    return {our: theirs for our, theirs in columns.items() if our in ours}


def _popularity(train: csr_array) -> NDArray[np.int64]:
    count_I = np.zeros(train.shape[1], dtype=np.int64)
    for index_B in _blocks(train.indices):
        count_I += np.bincount(index_B, minlength=len(count_I))
    return count_I


def _fingerprint(split: Split) -> str:
    ids = [split.user_ids, split.valid.user_ids, split.test.user_ids, split.item_ids]
    digest = hashlib.sha256(orjson.dumps(ids))
    held_out = (split.valid.history, split.valid.target, split.test.history, split.test.target)
    for matrix in (split.train, *held_out):
        # SciPy picks the type of indices by the size of a matrix; the digest must not see it.
        for values, written in (
            (matrix.indptr, "<i8"),
            (matrix.indices, "<i8"),
            (matrix.data, "<f4"),
        ):
            for block in _blocks(values):
                digest.update(block.astype(written).tobytes())
    return digest.hexdigest()


def _blocks(values_N: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Cut an array, so that what is made of it is never as large as itself."""
    return (values_N[start : start + BLOCK_ROWS] for start in range(0, len(values_N), BLOCK_ROWS))


def _notes_on_duplicates(log: InteractionLog) -> tuple[str, ...]:
    if not log.merged_duplicates:
        return ()
    which = "latest" if "timestamp" in log else "last"
    summed = ", weights added up" if "weight" in log else ""
    return (f"{log.merged_duplicates:,} duplicate pairs merged (the {which} row counts{summed})",)


def _notes_on_threshold(
    threshold: float | None, scale: tuple[float, float] | None, rows: tuple[int, int]
) -> tuple[str, ...]:
    if threshold is None or scale is None:
        return ()
    on_scale = f"(scale {scale[0]:g} to {scale[1]:g})"
    return (f"ratings >= {threshold:g} count as positive {on_scale}: {rows[0]:,} of {rows[1]:,}",)


def _notes_on_split(split: Split, num_users: int, num_items: int) -> Iterator[str]:
    users = {*split.user_ids, *split.valid.user_ids, *split.test.user_ids}
    if len(users) < num_users:
        early = " or none before the cut" if split.protocol == "time" else ""
        left_out = num_users - len(users)
        yield f"{left_out:,} of {num_users:,} users left out: too few positive items{early}"
    if len(split.item_ids) < num_items:
        left_out = num_items - len(split.item_ids)
        yield f"{left_out:,} of {num_items:,} items left out: no training user has them"
    yield (
        f"{split.protocol} split: {len(split.valid.user_ids):,} users for validation "
        f"({split.valid.num_without_target:,} without a target), "
        f"{len(split.test.user_ids):,} for test ({split.test.num_without_target:,} without)"
    )


def _note_on_ratings(split: Split, ratings: Ratings) -> str:
    held_out = {"validation": (split.valid, "valid"), "test": (split.test, "test")}
    counts = [
        f"{part.target.nnz + len(ratings.strays[name]):,} for {purpose} "
        f"({len(ratings.strays[name]):,} of users or items without training ratings)"
        for purpose, (part, name) in held_out.items()
    ]
    scale = ratings.scale
    return (
        f"{split.protocol} split, scale {scale.lowest:g} to {scale.highest:g}, "
        f"mean {scale.mean:.3f}: {split.train.nnz:,} ratings to learn from, {', '.join(counts)}"
    )
