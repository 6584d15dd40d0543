"""Data sets, ready to train on: a log, its split, its catalogue, and what to tell about them."""

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import numpy as np
import orjson
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from service.catalog import Catalog
from training.data.interactions import LOG_COLUMNS, InteractionLog, positives, read_log
from training.data.items import ITEM_COLUMNS, make_catalog, read_items
from training.data.movielens import read_movielens_small
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


def load_dataset(source: str, options: DataOptions) -> Dataset:
    """Read, check and split.

    Args:
        source: A key of ``NAMED``, or a file, a glob or a folder of Parquet files.
        options: How.

    Raises:
        BadInputError: One line that says what is wrong, where, and what to do.
    """
    log, items = _read_named(source, options) if source in NAMED else _read_files(source, options)
    how = SplitOptions(
        protocol=options.protocol,
        seed=options.split_seed,
        min_user_items=options.min_user_items,
    )
    liked, threshold, ratings = log, None, None
    if options.ratings:
        split, ratings = rating_split(log, how)
    else:
        liked, threshold = positives(log, options.positive_threshold)
        split = make_split(liked, how)
    popularity_I = np.bincount(split.train.indices, minlength=split.train.shape[1])
    return Dataset(
        name=source if source in NAMED else Path(source).name.partition(".")[0],
        split=split,
        catalog=make_catalog(items, split.item_ids, popularity_I),
        positive_threshold=threshold,
        fingerprint=_fingerprint(split),
        notes=(*_notes_on_log(log, liked, threshold), *_notes_on_split(log, split, ratings)),
        split_seed=options.split_seed,
        ratings=ratings,
    )


def _read_named(source: str, options: DataOptions) -> tuple[InteractionLog, pl.DataFrame]:
    if options.columns or options.items:
        raise BadInputError(f"{source} brings its own items and columns; leave both options out")
    return NAMED[source]()


def _read_files(source: str, options: DataOptions) -> tuple[InteractionLog, pl.DataFrame | None]:
    known = dict.fromkeys((*LOG_COLUMNS, *ITEM_COLUMNS))
    for ours in options.columns:
        if ours not in known:
            raise BadInputError(f"--columns: no column is {ours!r}; there are: {', '.join(known)}")
    path = Path(source)
    if not path.exists() and not is_glob(path):
        raise BadInputError(
            f"{source!r} is no file, no folder and no named data set; names: {', '.join(NAMED)}"
        )
    log = read_log(path, _those(LOG_COLUMNS, options.columns))
    if options.items is None:
        return log, None
    return log, read_items(options.items, _those(ITEM_COLUMNS, options.columns))


def _those(ours: Collection[str], columns: Mapping[str, str]) -> dict[str, str]:
    return {our: theirs for our, theirs in columns.items() if our in ours}


def _fingerprint(split: Split) -> str:
    ids = [split.user_ids, split.valid.user_ids, split.test.user_ids, split.item_ids]
    digest = hashlib.sha256(orjson.dumps(ids))
    held_out = (split.valid.history, split.valid.target, split.test.history, split.test.target)
    for matrix in (split.train, *held_out):
        # SciPy picks the type of indices by the size of a matrix; the digest must not see it.
        digest.update(matrix.indptr.astype("<i8").tobytes())
        digest.update(matrix.indices.astype("<i8").tobytes())
        digest.update(matrix.data.astype("<f4").tobytes())
    return digest.hexdigest()


def _notes_on_log(
    log: InteractionLog, liked: InteractionLog, threshold: float | None
) -> Iterator[str]:
    if log.merged_duplicates:
        which = "latest" if "timestamp" in log else "last"
        summed = ", weights added up" if "weight" in log else ""
        yield f"{log.merged_duplicates:,} duplicate pairs merged (the {which} row counts{summed})"
    if threshold is not None:
        lowest, highest = log.rating_range()
        yield (
            f"ratings >= {threshold:g} count as positive (scale {lowest:g} to {highest:g}): "
            f"{len(liked):,} of {len(log):,}"
        )


def _notes_on_split(log: InteractionLog, split: Split, ratings: Ratings | None) -> Iterator[str]:
    if ratings is not None:
        yield _note_on_ratings(split, ratings)
        return
    users = {*split.user_ids, *split.valid.user_ids, *split.test.user_ids}
    if len(users) < log.num_users:
        left_out = log.num_users - len(users)
        early = " or none before the cut" if split.protocol == "time" else ""
        yield f"{left_out:,} of {log.num_users:,} users left out: too few positive items{early}"
    if len(split.item_ids) < log.num_items:
        left_out = log.num_items - len(split.item_ids)
        yield f"{left_out:,} of {log.num_items:,} items left out: no training user has them"
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
