import numpy as np
import pytest

from service import canaries
from service.canaries import Canary
from service.errors import CheckpointCorruptError
from service.histories import History
from service.retrieval.base import TopK


def top(items: list[int], scores: list[float]) -> TopK:
    return TopK(np.array(items, dtype=np.int64), np.array(scores, dtype=np.float32))


STORED = top([4, 2, 9], [3.0, 2.0, 1.0])


@pytest.mark.parametrize(
    ("found", "agrees"),
    [
        (STORED, True),
        (top([4, 2, 9], [3.00001, 2.0, 1.0]), True),
        (top([4, 2, 9], [3.1, 2.0, 1.0]), False),
        (top([4, 2, 9], [float("nan"), 2.0, 1.0]), False),
        (top([2, 4, 9], [3.0, 2.0, 1.0]), False),
        (top([4, 2], [3.0, 2.0]), False),
    ],
)
def test_a_list_agrees_within_float_noise_only(found: TopK, agrees: bool) -> None:
    assert canaries._agree(STORED, found) is agrees


def test_items_with_near_equal_scores_may_trade_places() -> None:
    stored = top([4, 2, 9], [3.0, 2.00001, 2.0])
    assert canaries._agree(stored, top([4, 9, 2], [3.0, 2.00001, 2.0]))
    assert not canaries._agree(stored, top([9, 4, 2], [3.0, 2.00001, 2.0]))


def test_two_empty_lists_agree() -> None:
    assert canaries._agree(top([], []), top([], []))


def test_canaries_survive_the_file() -> None:
    canary = Canary(History.of([3, 1], [2.0, 1.0]), 0, STORED)
    (again,) = canaries.from_json(canaries.to_json([canary]), num_items=10, num_users=1)
    assert again.history.item_index_N.tolist() == [1, 3]
    assert again.history.weight_N.tolist() == [1, 2]
    assert again.user_index == 0
    assert again.top.item_index_K.tolist() == [4, 2, 9]
    assert again.top.score_K.tolist() == [3, 2, 1]


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"{}",
        b"[]",
        b"[1]",
        b"[{}]",
        b'[{"history": [99], "weights": [1], "user_index": -1, "items": [], "scores": []}]',
        b'[{"history": [], "weights": [], "user_index": 5, "items": [], "scores": []}]',
        b'[{"history": [1], "weights": [1, 2], "user_index": -1, "items": [], "scores": []}]',
        b'[{"history": [1e30], "weights": [1], "user_index": 0, "items": [], "scores": []}]',
    ],
)
def test_what_is_no_canary_file_is_refused(content: bytes) -> None:
    with pytest.raises(CheckpointCorruptError, match="canaries"):
        canaries.from_json(content, num_items=10, num_users=1)


def test_ratings_of_a_canary_survive_the_file_below_zero_too() -> None:
    history = History.of([1, 5, 9], [-7.25, 0.0, 0.1])
    content = canaries.to_json([Canary(history, -1, STORED)])
    (again,) = canaries.from_json(content, num_items=10, num_users=0)
    assert again.history.weight_N.tolist() == history.weight_N.tolist()
