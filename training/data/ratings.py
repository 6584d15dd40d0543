"""Ratings to learn from: all of them, liked or not, some held out by chance."""

from dataclasses import dataclass, replace
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

from service.autoencoders.rating_scale import RatingScale
from service.histories import MAX_WEIGHT
from training.data.interactions import PART_CODES, TRAIN, InteractionLog
from training.data.partition import Parts, given_parts, hold_out_late
from training.data.split import Split, SplitOptions, weak_split
from training.errors import BadInputError

PARTS: Final = ("valid", "test")


@final
@dataclass(frozen=True, slots=True)
class Ratings:
    """What a model of ratings must know beside a split whose weights are ratings.

    Attributes:
        scale: Of the training ratings.
        strays: Held-out ratings, float32, of users or items that have none in training, by part:
            no model can do better there than a constant, and they count all the same.
    """

    scale: RatingScale
    strays: dict[str, NDArray[np.float32]]


def rating_split(log: InteractionLog, options: SplitOptions) -> tuple[Split, Ratings]:
    """Split the ratings of a log as Sedhain et al. (2015) do: a share of all, whosever they are.

    Args:
        log: All ratings. A weak ``split`` column wins over the options.
        options: ``held_out_fraction`` of the ratings go to test and as large a share of the others
            to validation, by chance; with the time protocol the latest ones do. No user is left
            out for having few.

    Returns:
        A split of weak generalization with ratings for weights, and what belongs to it.

    Raises:
        BadInputError: There are no ratings, they are all the same or beyond all bounds, or the
            log holds out users and not ratings.
    """
    _refuse_useless(log)
    rated = replace(log, values={**log.values, "weight": log.values["rating"]})
    generator = np.random.default_rng(options.seed)
    protocol, part_N = _parts(rated, options, generator)
    split = weak_split(protocol, rated, part_N)
    trained_N = part_N == PART_CODES[TRAIN]
    is_known_N = rated.items_in(trained_N)[rated.item_N]
    is_known_N &= rated.by_user(rated.counts_U(trained_N) > 0)
    strays = {
        name: rated.values["rating"][~is_known_N & (part_N == PART_CODES[name])].astype(np.float32)
        for name in PARTS
    }
    return split, Ratings(_scale(split.train.data), strays)


def _refuse_useless(log: InteractionLog) -> None:
    if "rating" not in log:
        raise BadInputError(
            "this model learns from ratings, and the log has none: name their column with "
            "--columns rating=NAME, or choose a model of plain interactions"
        )
    lowest, highest = log.rating_range()
    if lowest == highest:
        raise BadInputError(f"all ratings are {lowest:g}: there is nothing to learn from them")
    if max(-lowest, highest) > MAX_WEIGHT:
        raise BadInputError(
            f"ratings run from {lowest:g} to {highest:g}: bring them to a scale within "
            f"{-MAX_WEIGHT:,.0f} to {MAX_WEIGHT:,.0f}"
        )


def _parts(
    log: InteractionLog, options: SplitOptions, generator: np.random.Generator
) -> tuple[str, Parts]:
    fraction = options.held_out_fraction
    if "split" in log:
        part_N, is_strong = given_parts(log, fraction, generator)
        if is_strong:
            raise BadInputError(
                "column 'split' holds out users; a model of ratings is measured on held-out "
                "ratings of known users: name the parts train, valid and test, or drop the column"
            )
        return "given-ratings", part_N
    if options.protocol != "time":
        return "ratings", _hold_out_ratings(len(log), fraction, generator)
    if "timestamp" not in log:
        raise BadInputError(
            "the time protocol needs timestamps; name their column with --columns timestamp=NAME"
        )
    return "time-ratings", hold_out_late(log.values["timestamp"], fraction)


def _hold_out_ratings(num_ratings: int, fraction: float, generator: np.random.Generator) -> Parts:
    """Draw a share of the ratings for test, and of the others as large a share for validation."""
    num_test = int(fraction * num_ratings)
    num_valid = int(fraction * (num_ratings - num_test))
    drawn_N = generator.permutation(num_ratings)
    part_N = np.full(num_ratings, PART_CODES[TRAIN], dtype=np.int8)
    part_N[drawn_N[:num_test]] = PART_CODES["test"]
    part_N[drawn_N[num_test : num_test + num_valid]] = PART_CODES["valid"]
    return part_N


def _scale(rating_N: NDArray[np.float32]) -> RatingScale:
    mean = float(rating_N.mean(dtype=np.float64))
    return RatingScale(
        lowest=float(rating_N.min()),
        highest=float(rating_N.max()),
        mean=mean,
        typical=float(rating_N[rating_N >= np.float32(mean)].mean(dtype=np.float64)),
    )
