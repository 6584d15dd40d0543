"""A run writes all lists or no file, and leaves nothing else behind."""

from collections.abc import Generator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Protocol

import polars as pl
import pytest

from service.checkpoint import load
from service.errors import CheckpointMissingError
from training.errors import BadInputError, ClusterError
from training.scoring.engine import Receipt, score_here
from training.scoring.parts import Part
from training.scoring.plan import ScoringPlan
from training.scoring.run import Users, score_users
from training.scoring.scorer import Scorer

LOG = "user_id,item_id,rating\nb,i1,5\na,i2,5\nb,i3,1\nc,nope,5\na,i4,4\nd,i5,1\ne,i6,5\n"


class Watched(Protocol):
    read: list[int]
    scored: list[tuple[int, int]]
    began: int

    def on_read(self, users: int) -> None: ...

    def on_scoring(self) -> None: ...

    def on_scored(self, users: int, of_users: int) -> None: ...


@pytest.fixture
def users(tmp_path: Path) -> Users:
    (tmp_path / "log.csv").write_text(LOG)
    return Users(tmp_path / "log.csv", tmp_path / "out" / "lists.parquet", part_users=2)


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_users_stand_in_the_order_of_their_first_rows_with_the_lists_of_a_scorer(
    users: Users, plan: ScoringPlan, watched: Watched
) -> None:
    ticks = count(0.0, 1.5)
    scored = score_users(users, plan, score_here, watched, clock=lambda: next(ticks))
    found = pl.read_parquet(users.out)
    assert found["user_id"].to_list() == ["b", "a", "c", "d", "e"]
    histories = pl.DataFrame(
        {
            "user_id": ["b", "a", "c", "d", "e"],
            "item_ids": [["i1", "i3"], ["i2", "i4"], ["nope"], ["i5"], ["i6"]],
            "ratings": [[5.0, 1.0], [5.0, 4.0], [5.0], [1.0], [5.0]],
            "weights": pl.Series([None] * 5, dtype=pl.List(pl.Float64)),
        }
    )
    alone = Scorer(plan).lists(histories)
    assert found.drop("scores").equals(alone.drop("scores"))
    assert (scored.users, scored.unknown_items) == (5, 1)
    assert scored.popularity == {"empty_history": 0, "no_known_items": 1, "no_liked_items": 1}
    assert (scored.read_s, scored.score_s) == (1.5, 1.5)
    assert watched.read == [2, 4, 5]
    assert watched.scored == [(2, 5), (4, 5), (5, 5)]
    assert watched.began == 1
    assert left_in(users.out.parent) == ["lists.parquet"]


def test_the_file_names_the_model_that_made_it(
    users: Users, plan: ScoringPlan, watched: Watched
) -> None:
    score_users(users, plan, score_here, watched)
    facts = pl.read_parquet_metadata(users.out)
    loaded = load(plan.bundle)
    assert facts["foldin.model"] == loaded.manifest.name
    assert facts["foldin.version"] == loaded.version
    assert facts["foldin.digest"] == loaded.digest
    assert facts["foldin.k"] == str(plan.k)


class Broken:
    """Scores the first part, and then does something else."""

    def __init__(self, then: BaseException | str) -> None:
        self._then = then

    def __call__(self, parts: Sequence[Part], plan: ScoringPlan) -> Generator[Receipt, None, None]:
        done = list(score_here(parts, plan))
        yield done[0]
        if isinstance(self._then, BaseException):
            raise self._then
        if self._then == "stop":
            return
        if self._then == "twice":
            yield done[0]
        if self._then == "lose":
            parts[1].lists.unlink()
        if self._then == "double":
            one = pl.read_parquet(parts[1].lists)
            pl.concat([one, one]).write_parquet(parts[1].lists)
        yield from done[1:]


@pytest.mark.parametrize(
    ("then", "problem"),
    [
        (KeyboardInterrupt("Ctrl-C"), "Ctrl-C"),
        (OSError("the disk is full"), "disk is full"),
        ("stop", "2 of 3 parts were not scored"),
        ("twice", "part 0 was scored twice"),
        ("lose", "1 of 3 parts are not in"),
        ("double", "7 lists of 5 users"),
    ],
    ids=str,
)
def test_a_run_that_fails_leaves_the_file_of_the_run_before(
    then: BaseException | str,
    problem: str,
    users: Users,
    plan: ScoringPlan,
    watched: Watched,
) -> None:
    users.out.parent.mkdir()
    users.out.write_text("of the run before")
    error = type(then) if isinstance(then, BaseException) else ClusterError
    with pytest.raises(error, match=problem):
        score_users(users, plan, Broken(then), watched)
    assert users.out.read_text() == "of the run before"
    assert left_in(users.out.parent) == ["lists.parquet"]


def test_no_users_are_an_error_and_no_empty_file(
    users: Users, plan: ScoringPlan, watched: Watched
) -> None:
    users.source.write_text("user_id,item_id\n")
    users.out.parent.mkdir()
    with pytest.raises(BadInputError, match="there are no users"):
        score_users(users, plan, score_here, watched)
    assert left_in(users.out.parent) == []


def test_folders_that_were_made_for_a_run_that_fails_go_with_it(
    users: Users, plan: ScoringPlan, watched: Watched, tmp_path: Path
) -> None:
    users.source.unlink()
    with pytest.raises(BadInputError, match="no such file"):
        score_users(replace(users, out=tmp_path / "a" / "b" / "l"), plan, score_here, watched)
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("below", ["l.parquet", "a/b/l.parquet"])
def test_a_file_in_place_of_the_folder_is_bad_input(
    below: str, users: Users, plan: ScoringPlan, watched: Watched
) -> None:
    with pytest.raises(BadInputError, match=r"--out .*log\.csv.* is a file and no folder"):
        score_users(replace(users, out=users.source / below), plan, score_here, watched)


def test_a_folder_is_no_file_to_write(users: Users, plan: ScoringPlan, watched: Watched) -> None:
    users.out.mkdir(parents=True)
    with pytest.raises(BadInputError, match="is a folder"):
        score_users(users, plan, score_here, watched)


def test_the_users_are_not_overwritten_by_their_lists(
    users: Users, plan: ScoringPlan, watched: Watched
) -> None:
    with pytest.raises(BadInputError, match="is the file of the users"):
        score_users(replace(users, out=users.source), plan, score_here, watched)
    assert users.source.read_text() == LOG


def test_a_bundle_that_is_not_there_is_said_before_anything_is_read(
    users: Users, tmp_path: Path, watched: Watched
) -> None:
    with pytest.raises(CheckpointMissingError):
        score_users(users, ScoringPlan(tmp_path), score_here, watched)
    assert not watched.read
