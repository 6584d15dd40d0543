"""What a posted history says of its items: which are liked and how much, which only seen."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Self, final

import numpy as np
from numpy.typing import NDArray

from service.autoencoders.rating_scale import RatingScale
from service.catalog import UNKNOWN_ITEM
from service.histories import History
from service.recommendation import PostedHistory, Reason


@final
@dataclass(frozen=True, slots=True, eq=False)
class Opinion:
    """A posted history as a model reads it: the one rule, online and in batches.

    Attributes:
        history: What the model encodes, with weights or ratings.
        disliked_N: int64, sorted and unique; seen but not liked, none of them in ``history``. A
            model that reads ratings encodes all that is rated, and leaves nothing for here.
        reason: Why the model cannot answer from this; empty when it can.
    """

    history: History
    disliked_N: NDArray[np.int64]
    reason: Reason

    @classmethod
    def of(
        cls,
        posted: PostedHistory,
        item_index_N: NDArray[np.int64],
        positive_threshold: float | None,
        scale: RatingScale | None = None,
    ) -> Self:
        """Read a posted history; entries that the catalogue lacks are passed over.

        An item counts once however often it is posted. It is liked if any of its entries is
        unrated or rated ``positive_threshold`` or more, and the largest weight of those counts.
        A model with a ``scale`` encodes every entry with its rating, of an item's entries the
        highest, and has no use for weights.

        Args:
            posted: N entries.
            item_index_N: int64, their items in the catalogue, ``UNKNOWN_ITEM`` where it lacks one.
            positive_threshold: None: every entry is liked.
            scale: Of a model that reads ratings.
        """
        if scale is not None:
            ratings = posted.ratings or (None,) * len(posted)
            weights: Sequence[float] | None = [scale.read(rating) for rating in ratings]
            liked = None
        else:
            weights = posted.weights
            liked = _liked(posted.ratings, positive_threshold)
        known_N = item_index_N != UNKNOWN_ITEM
        liked_N = known_N if liked is None else known_N & liked
        history = _history(item_index_N, weights, liked_N)
        disliked_N = np.empty(0, dtype=np.int64)
        if liked is not None:
            disliked_N = np.setdiff1d(item_index_N[known_N & ~liked], history.item_index_N)
        reason = "" if len(history) else _shortcoming(len(posted), len(disliked_N))
        return cls(history, disliked_N, reason)


def _liked(
    ratings: Sequence[float | None] | None, positive_threshold: float | None
) -> NDArray[np.bool_] | None:
    """Tell which entries are liked; None: all of them."""
    if ratings is None or positive_threshold is None:
        return None
    # An entry without a rating becomes NaN, which is below no threshold.
    rating_N = np.array(ratings, dtype=np.float64)
    liked_N: NDArray[np.bool_] = ~(rating_N < positive_threshold)
    return liked_N


def _history(
    item_index_N: NDArray[np.int64], weights: Sequence[float] | None, encoded_N: NDArray[np.bool_]
) -> History:
    """Make the model's input of the entries that it encodes."""
    if np.count_nonzero(encoded_N) < len(encoded_N):
        item_index_N = item_index_N[encoded_N]
        weights = None if weights is None else list(compress(weights, encoded_N.tolist()))
    return History.of(item_index_N, weights)


def _shortcoming(num_entries: int, num_disliked: int) -> Reason:
    if num_disliked:
        return "no_liked_items"
    return "no_known_items" if num_entries else "empty_history"
