"""A small bundle, and users that try all ways of an answer."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from service.checkpoint import resolve
from training.scoring.histories import SCHEMA
from training.scoring.plan import ScoringPlan

NUM_ITEMS = 30


@pytest.fixture(scope="session")
def plan(
    write_bundle: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> ScoringPlan:
    model_dir = tmp_path_factory.mktemp("models")
    write_bundle(model_dir, NUM_ITEMS, positive_threshold=4.0)
    return ScoringPlan(resolve(model_dir), k=5, batch_size=3)


@pytest.fixture
def histories() -> pl.DataFrame:
    """Seven users: four the model answers, and each reason for popularity once."""
    known_and_not: list[list[str]] = [["i1", "i2"], ["i3", "x", "y"], [], ["x"]]
    return pl.DataFrame(
        {
            "user_id": ["a", "b", "new", "strange", "critic", "c", "rated"],
            "item_ids": [*known_and_not, ["i4", "i5"], ["i7"], ["i8", "i9"]],
            "ratings": [None, None, [], None, [1.0, 2.0], None, [5.0, 1.0]],
            "weights": [[1.0, 3.0], None, [], None, None, [2.0], [None, None]],
        },
        schema=dict(SCHEMA),
    )


class Watched:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.read: list[int] = []
        self.scored: list[tuple[int, int]] = []
        self.began = 0

    def on_read(self, users: int) -> None:
        self.read.append(users)

    def on_scoring(self) -> None:
        self.began += 1

    def on_scored(self, users: int, of_users: int) -> None:
        self.scored.append((users, of_users))


@pytest.fixture
def watched() -> Watched:
    return Watched()
