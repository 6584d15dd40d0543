"""Which validation users choose an epoch: all of them, or an even sample where that is too many."""

import numpy as np
import pytest
import torch

from service.checkpoint import build_model
from training import task as module
from training.data.split import Split
from training.distributed import World
from training.task import RankingTask


def asked(split: Split, world: World) -> float:
    torch.manual_seed(0)
    model = build_model("multvae", {"latent_dim": 4, "hidden_dims": (8,)}, 45, 0).eval()
    figures = RankingTask(split, world).measure(model)
    return figures["users"] + figures["users_without_target"]


def test_all_are_asked_where_they_are_few(planted_split: Split) -> None:
    assert asked(planted_split, World.alone()) == 30


@pytest.mark.parametrize(("scores", "users"), [(30 * 45, 30), (29 * 45, 15), (10 * 45, 10), (1, 1)])
def test_no_more_scores_are_made_than_the_bound(
    planted_split: Split, monkeypatch: pytest.MonkeyPatch, scores: int, users: int
) -> None:
    monkeypatch.setattr(module, "MAX_VALID_SCORES", scores)
    assert asked(planted_split, World.alone()) == users


@pytest.mark.parametrize("size", [2, 3, 7])
def test_several_processes_ask_those_that_one_would_ask(
    planted_split: Split, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(module, "MAX_VALID_SCORES", 8 * 45)  # every fourth
    seen: list[str] = []
    monkeypatch.setattr(
        module, "part_of", lambda held_out, users: seen.extend(held_out.user_ids[users])
    )
    for rank in range(size):
        RankingTask(planted_split, World(rank, size))
    assert seen == [planted_split.valid.user_ids[user] for user in np.arange(0, 30, 4)]
