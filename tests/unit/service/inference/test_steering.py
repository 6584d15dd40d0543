"""Rows of a batch whose latents are moved before they are decoded, each as it asks."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from service import checkpoint
from service.autoencoders.traversal import Steering
from service.histories import History
from service.inference.engine import Engine, Job, Outcome
from service.ranker import ModelRanker
from service.refiner import Refiner, Wish
from service.retrieval.base import Wanted

TinyBundle = Callable[..., Path]
HISTORY = History.of([2, 7, 12])
WANTED = Wanted(10, HISTORY.item_index_N)
MOVES: Steering = ((0, 1.5), (3, -2.0))


@pytest.fixture
def engine(tiny_bundle: TinyBundle) -> Engine:
    loaded = checkpoint.load(tiny_bundle("betavae"), torch.device("cpu"))
    ranker = ModelRanker(loaded.model)
    return Engine(ranker, refiner=Refiner(ranker, loaded.catalog))


def assert_same_list(one: Outcome, other: Outcome) -> None:
    assert one.top.item_index_K.tobytes() == other.top.item_index_K.tobytes()
    assert one.top.score_K.tobytes() == other.top.score_K.tobytes()


def test_a_row_is_decoded_from_its_moved_latent_and_keeps_the_other(engine: Engine) -> None:
    (plain,) = engine.run([Job(WANTED, HISTORY)])
    (moved,) = engine.run([Job(WANTED, HISTORY, wish=Wish(steer=MOVES))])
    latent_D = plain.latent_D.copy()
    for dimension, offset in MOVES:
        latent_D[dimension] += np.float32(offset)
    (by_hand,) = engine.run([Job(WANTED, latent_D=latent_D)])
    assert_same_list(moved, by_hand)
    assert moved.top.item_index_K.tolist() != plain.top.item_index_K.tolist()
    assert moved.latent_D.tobytes() == plain.latent_D.tobytes()


def test_a_kept_latent_moves_as_a_posted_history_does(engine: Engine) -> None:
    (posted,) = engine.run([Job(WANTED, HISTORY, wish=Wish(steer=MOVES))])
    (kept,) = engine.run([Job(WANTED, latent_D=posted.latent_D, wish=Wish(steer=MOVES))])
    assert_same_list(kept, posted)


def test_neighbours_in_a_batch_stay_where_they_are(engine: Engine) -> None:
    (plain,) = engine.run([Job(WANTED, HISTORY)])
    (moved,) = engine.run([Job(WANTED, HISTORY, wish=Wish(steer=MOVES))])
    jobs = [Job(WANTED, HISTORY), Job(WANTED, HISTORY, wish=Wish(steer=MOVES))] * 2
    for outcome, alone in zip(engine.run(jobs), [plain, moved] * 2, strict=True):
        assert_same_list(outcome, alone)


def test_a_draw_is_moved_too(engine: Engine) -> None:
    drawn = Wish(exploration=1.0, seed=4)
    both = Wish(exploration=1.0, seed=4, steer=MOVES)
    (alone,) = engine.run([Job(WANTED, HISTORY, wish=drawn)])
    first, second = engine.run([Job(WANTED, HISTORY, wish=both)] * 2)
    assert_same_list(first, second)
    assert first.top.score_K.tolist() != alone.top.score_K.tolist()


def test_causes_are_those_of_the_moved_list(engine: Engine) -> None:
    (moved,) = engine.run([Job(WANTED, HISTORY, wish=Wish(steer=MOVES, explain=True))])
    assert moved.causes is not None
    everything = Wanted(30, np.empty(0, dtype=np.int64))
    checked = 0
    for item, score, causes in zip(
        moved.top.item_index_K, moved.top.score_K, moved.causes, strict=True
    ):
        for cause in causes:
            rest = History.of([other for other in (2, 7, 12) if other != cause.item_index])
            (without,) = engine.run([Job(everything, rest, wish=Wish(steer=MOVES))])
            score_of = dict(zip(without.top.item_index_K, without.top.score_K, strict=True))
            assert score - score_of[item] == pytest.approx(cause.lift, abs=1e-5)
            checked += 1
    assert checked > 5
