"""``foldin score``: from the command line to the file, with errors in one line."""

import json
import signal
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from training.cli import app
from training.errors import BadInputError
from training.scoring.engine import Receipt, score_here
from training.scoring.parts import Part
from training.scoring.plan import ScoringPlan
from training.scoring.ray_engine import RayEngine


@pytest.fixture
def folder(write_bundle: Callable[..., Path], tmp_path: Path) -> Path:
    write_bundle(tmp_path / "models", 30)
    rows = [("u", ["i1", "i2"]), ("v", ["gone"]), ("w", [])]
    frame = pl.DataFrame(rows, schema={"uid": pl.String, "seen": pl.List(pl.String)}, orient="row")
    frame.write_parquet(tmp_path / "users.parquet")
    return tmp_path


def score(folder: Path, *options: str) -> Result:
    models, users, out = (str(folder / name) for name in ("models", "users.parquet", "l.parquet"))
    columns = "user_id=uid,history=seen"
    return CliRunner().invoke(
        app, ["score", models, users, "--out", out, "--columns", columns, *options]
    )


def test_lists_of_k_items_are_written_and_counted(folder: Path) -> None:
    done = score(folder, "-k", "7", "--retrieval", "exact", "--json", str(folder / "r.json"))
    assert done.exit_code == 0, done.output
    lists = pl.read_parquet(folder / "l.parquet")
    assert lists["item_ids"].list.len().to_list() == [7, 7, 7]
    assert "3 users in" in done.output
    assert "2 by popularity (1 empty_history, 1 no_known_items); 1 ids unknown" in done.output
    record = json.loads((folder / "r.json").read_text())
    assert (record["users"], record["k"], record["engine"]) == (3, 7, "local")


def test_a_user_may_be_shown_again_what_they_have_seen(folder: Path) -> None:
    assert score(folder, "-k", "99", "--keep-seen").exit_code == 0
    assert pl.read_parquet(folder / "l.parquet")["item_ids"].list.len().to_list() == [30] * 3


def test_the_engine_on_ray_is_told_where_and_how_many(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines: list[RayEngine] = []

    def here(
        engine: RayEngine, parts: Sequence[Part], plan: ScoringPlan
    ) -> Generator[Receipt, None, None]:
        engines.append(engine)
        return score_here(parts, plan)

    monkeypatch.setattr(RayEngine, "__call__", here)
    done = score(folder, "--engine", "ray", "--ray-address", "auto", "--actors", "3")
    assert done.exit_code == 0, done.output
    assert engines == [RayEngine("auto", 3)]


def test_a_record_that_cannot_be_written_is_refused_before_anything_is_scored(
    folder: Path,
) -> None:
    (folder / "taken").mkdir()
    (folder / "file").touch()
    for name, problem in (
        ("l.parquet", "is the file of --out"),
        ("taken/../users.parquet", "is the file of USERS"),
        ("taken", "is a folder"),
        ("file/r.json", "is a file"),
    ):
        done = score(folder, "--json", str(folder / name))
        assert isinstance(done.exception, BadInputError)
        assert problem in str(done.exception)
        assert not (folder / "l.parquet").exists()
    assert pl.read_parquet(folder / "users.parquet").height == 3


@pytest.mark.parametrize("option", [("--ray-address", "auto"), ("--actors", "2")])
def test_options_on_ray_mean_nothing_to_another_engine(
    option: tuple[str, str], folder: Path
) -> None:
    done = score(folder, *option)
    assert isinstance(done.exception, BadInputError)
    assert "are for --engine ray" in str(done.exception)


def test_a_run_that_somebody_ends_leaves_nothing_behind(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(_parts: Sequence[Part], _plan: ScoringPlan) -> Generator[Receipt, None, None]:
        signal.raise_signal(signal.SIGTERM)
        yield from ()

    monkeypatch.setattr("training.verbs.score.score_here", ended)
    before, left = signal.getsignal(signal.SIGTERM), sorted(folder.iterdir())
    assert score(folder).exit_code == 130  # as of Ctrl-C, of which the command makes 1
    assert sorted(folder.iterdir()) == left
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("option", "value"), [("-k", "0"), ("--engine", "spark"), ("--retrieval", "magic")]
)
def test_an_option_that_means_nothing_is_bad_usage(option: str, value: str, folder: Path) -> None:
    assert score(folder, option, value).exit_code == 2
    assert not (folder / "l.parquet").exists()
