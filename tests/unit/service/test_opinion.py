"""What a posted history says: the rule that requests and batches share."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.autoencoders.rating_scale import RatingScale
from service.catalog import UNKNOWN_ITEM
from service.opinion import Opinion
from service.recommendation import PostedHistory

Rows = list[tuple[int, float | None, float]]

ROWS = st.lists(
    st.tuples(
        st.integers(UNKNOWN_ITEM, 6),
        st.none() | st.sampled_from([1.0, 3.5, 4.0, 5.0]),
        st.sampled_from([0.5, 1.0, 2.0]),
    ),
    max_size=12,
)


def opinion(rows: Rows, threshold: float | None = 4.0, scale: RatingScale | None = None) -> Opinion:
    posted = PostedHistory.of_columns(
        tuple(str(item) for item, _, _ in rows),
        tuple(rating for _, rating, _ in rows),
        tuple(weight for _, _, weight in rows),
    )
    item_index_N = np.array([item for item, _, _ in rows], dtype=np.int64)
    return Opinion.of(posted, item_index_N, threshold, scale)


@given(ROWS)
def test_every_known_item_is_either_liked_with_its_largest_weight_or_disliked(rows: Rows) -> None:
    found = opinion(rows)
    liked: dict[int, float] = {}
    for item, rating, weight in rows:
        if item != UNKNOWN_ITEM and (rating is None or rating >= 4):
            liked[item] = max(weight, liked.get(item, 0))
    seen = {item for item, _, _ in rows} - {UNKNOWN_ITEM}
    weights = found.history.weight_N.tolist()
    assert dict(zip(found.history.item_index_N.tolist(), weights, strict=True)) == liked
    assert found.disliked_N.tolist() == sorted(seen - set(liked))
    assert (found.reason == "") == bool(liked)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([], "empty_history"),
        ([(UNKNOWN_ITEM, None, 1.0)], "no_known_items"),
        ([(3, 1.0, 1.0)], "no_liked_items"),
        ([(3, 1.0, 1.0), (4, None, 1.0)], ""),
    ],
)
def test_a_history_that_the_model_cannot_read_says_why(rows: Rows, reason: str) -> None:
    assert opinion(rows).reason == reason


def test_a_model_of_ratings_encodes_the_highest_of_an_item_and_takes_no_weights() -> None:
    found = opinion([(2, 1.0, 9.0), (2, 3.0, 1.0), (5, None, 1.0)], scale=RatingScale(typical=4.5))
    assert found.history.item_index_N.tolist() == [2, 5]
    assert found.history.weight_N.tolist() == [3.0, 4.5]
    assert not len(found.disliked_N)
