from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.autoencoders.rating_scale import RatingScale
from service.catalog import Catalog
from service.errors import LatentStoreError
from service.evidence import Evidence
from service.histories import MAX_WEIGHT, MIN_WEIGHT
from service.latents.store import UserRecord
from service.recommendation import HistoryEntry as Entry
from service.recommendation import PostedHistory, Reason

CATALOG = Catalog(("a", "b", "c", "d"), ("",) * 4, ((),) * 4, np.zeros(4, dtype=np.int64))
RECORD = UserRecord(
    user_id="u",
    model_digest="0" * 64,
    latent_D=np.array([0.5, -1.0], dtype=np.float32),
    liked_N=np.array([0, 3]),
    disliked_N=np.array([1]),
)


def posted(*entries: Entry, threshold: float | None = 4) -> Evidence:
    return read(entries, threshold)


def read(
    entries: Sequence[Entry], threshold: float | None, scale: RatingScale | None = None
) -> Evidence:
    history = PostedHistory.of(entries)
    item_index_N, _ = CATALOG.indices(history.item_ids)
    return Evidence.posted(history, item_index_N, threshold, scale)


def test_entries_below_the_threshold_are_seen_but_not_liked() -> None:
    evidence = posted(Entry("d", 4), Entry("a", 3.9), Entry("b"), Entry("c", 5))
    assert evidence.liked_N.tolist() == [1, 2, 3]
    assert evidence.disliked_N.tolist() == [0]
    assert (evidence.source, evidence.reason, evidence.cache) == ("model", "", "bypass")


def test_without_a_threshold_every_entry_is_liked() -> None:
    evidence = posted(Entry("a", 0.5), Entry("b", -3), threshold=None)
    assert evidence.liked_N.tolist() == [0, 1]
    assert evidence.disliked_N.tolist() == []


def test_an_item_posted_liked_and_not_liked_is_liked_once() -> None:
    evidence = posted(Entry("c", 1), Entry("c", 5), Entry("c", 2), Entry("a", 1), Entry("a", 1))
    assert evidence.liked_N.tolist() == [2]
    assert evidence.disliked_N.tolist() == [0]


def test_the_largest_weight_that_an_item_was_liked_with_counts() -> None:
    evidence = posted(
        Entry("a", weight=2), Entry("a", weight=3), Entry("a", 1, weight=9), Entry("b", weight=0.5)
    )
    assert evidence.history is not None
    assert evidence.history.weight_N.tolist() == [3, 0.5]


def test_a_model_that_reads_ratings_encodes_every_entry_as_it_is_rated() -> None:
    scale = RatingScale(lowest=-10, highest=10, mean=0, typical=6)
    entries = [
        Entry("d", -8.5),
        Entry("a"),
        Entry("b", 0, weight=9),
        Entry("c", -4),
        Entry("c", -5),
        Entry("x", 3),
    ]
    evidence = read(entries, None, scale)
    assert evidence.history is not None
    assert evidence.history.item_index_N.tolist() == evidence.liked_N.tolist() == [0, 1, 2, 3]
    assert evidence.history.weight_N.tolist() == [6, 0, -4, -8.5]
    assert evidence.disliked_N.tolist() == []
    assert (evidence.source, evidence.reason) == ("model", "")


@pytest.mark.parametrize(
    ("entries", "reason", "seen"),
    [
        ([], "empty_history", []),
        ([Entry("x"), Entry("y", 5)], "no_known_items", []),
        ([Entry("a", 1), Entry("b", 2)], "no_liked_items", [0, 1]),
        ([Entry("x"), Entry("d", 1)], "no_liked_items", [3]),
    ],
)
def test_evidence_that_cannot_be_encoded_says_why(
    entries: list[Entry], reason: Reason, seen: list[int]
) -> None:
    evidence = posted(*entries)
    assert (evidence.source, evidence.reason) == ("popularity", reason)
    assert evidence.disliked_N.tolist() == seen


def test_a_kept_record_is_taken_as_it_is() -> None:
    evidence = Evidence.kept(RECORD, latent_dim=2, num_items=4)
    assert (evidence.source, evidence.reason, evidence.cache) == ("model", "", "hit")
    assert evidence.liked_N.tolist() == [0, 3]
    assert evidence.disliked_N.tolist() == [1]
    assert evidence.latent_D is RECORD.latent_D
    assert evidence.history is None


@pytest.mark.parametrize(
    "record",
    [
        replace(RECORD, latent_D=np.zeros(3, dtype=np.float32)),
        replace(RECORD, latent_D=np.zeros((1, 2), dtype=np.float32)),
        replace(RECORD, latent_D=np.array([0, np.nan], dtype=np.float32)),
        replace(RECORD, latent_D=np.array([0, np.inf], dtype=np.float32)),
        replace(RECORD, latent_D=np.array([0, -3e38], dtype=np.float32)),  # scores overflow
        replace(RECORD, liked_N=np.array([0, 4])),
        replace(RECORD, disliked_N=np.array([-1])),
    ],
)
def test_a_record_that_does_not_fit_the_model_is_refused(record: UserRecord) -> None:
    with pytest.raises(LatentStoreError, match="does not fit"):
        Evidence.kept(record, latent_dim=2, num_items=4)


def test_a_record_of_a_model_that_keeps_histories_is_the_history_with_its_weights() -> None:
    record = replace(RECORD, latent_D=np.array([2.0, 0.5], dtype=np.float32))
    evidence = Evidence.kept(record, latent_dim=None, num_items=4)
    assert (evidence.source, evidence.reason, evidence.cache) == ("model", "", "hit")
    assert evidence.latent_D is None
    assert evidence.history is not None
    assert evidence.history.item_index_N.tolist() == evidence.liked_N.tolist() == [0, 3]
    assert evidence.history.weight_N.tolist() == [2.0, 0.5]
    assert evidence.disliked_N.tolist() == [1]


@pytest.mark.parametrize(
    "record",
    [
        replace(RECORD, latent_D=np.zeros(3, dtype=np.float32)),  # one weight too many
        replace(RECORD, latent_D=np.zeros(0, dtype=np.float32)),
        replace(RECORD, latent_D=np.array([1, np.nan], dtype=np.float32)),
        replace(RECORD, latent_D=np.array([1, 2e6], dtype=np.float32)),
        replace(RECORD, liked_N=np.array([0, 4])),
    ],
)
def test_a_kept_history_that_is_none_is_refused(record: UserRecord) -> None:
    with pytest.raises(LatentStoreError, match="does not fit"):
        Evidence.kept(record, latent_dim=None, num_items=4)


def test_the_largest_weight_that_may_be_posted_can_be_kept() -> None:
    heaviest = np.array([MAX_WEIGHT, MIN_WEIGHT], dtype=np.float32)
    record = replace(RECORD, latent_D=heaviest)
    assert Evidence.kept(record, latent_dim=None, num_items=4).history is not None


# --- the same as entry by entry -----------------------------------------------------------------


def read_entry_by_entry(
    entries: Sequence[Entry], threshold: float | None, scale: RatingScale | None
) -> tuple[list[int], list[float], list[int], Reason]:
    """Read a history in the plainest way: liked items, weights, disliked ones, reason."""
    weight_of: dict[int, float] = {}
    disliked: set[int] = set()
    for entry in entries:
        if entry.item_id not in CATALOG.item_ids:
            continue
        index = CATALOG.item_ids.index(entry.item_id)
        if scale is not None:
            weight = scale.read(entry.rating)
        elif threshold is None or entry.rating is None or entry.rating >= threshold:
            weight = entry.weight
        else:
            disliked.add(index)
            continue
        weight_of[index] = max(weight_of.get(index, weight), weight)
    reason: Reason = ""
    if not weight_of:
        reason = "no_liked_items" if disliked else "no_known_items" if entries else "empty_history"
    liked = sorted(weight_of)
    weights = [float(np.float32(weight_of[index])) for index in liked]
    return liked, weights, sorted(disliked - set(liked)), reason


any_entry = st.builds(
    Entry,
    st.sampled_from(["a", "b", "c", "d", "x", ""]),
    st.none() | st.sampled_from([-3.0, 3.9, 4.0, 5.0]),
    st.sampled_from([1.0, 1.0, 0.1, 7.5]),
)


@given(
    st.lists(any_entry, max_size=12) | st.lists(st.builds(Entry, st.sampled_from("abcdx"))),
    st.sampled_from([(None, None), (4.0, None), (None, RatingScale(-1, 4.5, 1, 3))]),
)
def test_columns_are_read_as_entries_are_one_by_one(
    entries: list[Entry], model: tuple[float | None, RatingScale | None]
) -> None:
    evidence = read(entries, *model)
    liked, weights, disliked, reason = read_entry_by_entry(entries, *model)
    assert evidence.history is not None
    assert evidence.liked_N.dtype == evidence.disliked_N.dtype == np.int64
    assert evidence.history.weight_N.dtype == np.float32
    assert evidence.liked_N.tolist() == evidence.history.item_index_N.tolist() == liked
    assert evidence.history.weight_N.tolist() == weights
    assert evidence.disliked_N.tolist() == disliked
    assert evidence.reason == reason
