"""``foldin bench losses`` and ``foldin train --loss`` as a user meets them."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from training import cli
from training.bench.interaction_log import LogShape
from training.bench.losses_race import LossesPlan
from training.verbs import bench_losses

Foldin = Callable[..., int]


@pytest.fixture
def foldin(monkeypatch: pytest.MonkeyPatch) -> Foldin:
    """Run ``foldin ARGUMENTS`` in this process and give the exit code."""

    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["foldin", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return int(stop.value.code or 0)

    return run


def test_options_make_the_plans_and_the_record_is_written(
    foldin: Foldin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[tuple[LossesPlan, LogShape, bool]] = []

    def run(plan: LossesPlan, large: LogShape, _: object, *, quick: bool) -> dict[str, object]:
        noted.append((plan, large, quick))
        return {"runs": []}

    monkeypatch.setattr(bench_losses, "run_losses", run)
    path = tmp_path / "losses.json"
    sizes = ("--users", 5_000, "--items", 50_000, "--negatives", 70, "--threads", 1)
    assert foldin("bench", "losses", "log.csv", *sizes, "--json", path) == 0
    ((plan, large, quick),) = noted
    assert (plan.log, plan.negatives, plan.threads, quick) == ("log.csv", 70, 1, False)
    assert (large.users, large.items, large.clusters) == (5_000, 50_000, 20)
    assert json.loads(path.read_text())["losses"] == {"runs": []}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Write what 60 users have of 40 items."""
    pairs = [(user, (user * 3 + place * 5) % 40) for user in range(60) for place in range(8)]
    path = tmp_path / "log.csv"
    pl.DataFrame(pairs, schema=["user_id", "item_id"], orient="row").write_csv(path)
    return path


@pytest.mark.parametrize(
    ("options", "negatives"),
    [((), 0), (("--loss", "sampled"), 8_000), (("--set", "negatives=9"), 9)],
)
def test_train_says_which_loss_it_takes(
    options: tuple[str, ...],
    negatives: int,
    foldin: Foldin,
    log: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    small = ("--model", "multvae", "--set", "latent_dim=4", "--epochs", 1, "--threads", 1)
    record = log.with_name("run.json")
    out = ("--out", log.with_name("models"), "--json", record)
    assert foldin("train", log, *small, *options, *out) == 0
    which = f"sampled, {negatives:,} negatives a step for the" if negatives else "exact, over all"
    assert f"loss: {which} 40 items" in capsys.readouterr().out
    assert json.loads(record.read_text())["config"]["negatives"] == negatives


def test_a_loss_that_a_model_has_not_is_refused(
    foldin: Foldin, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--model", "ease", "--loss", "sampled", "--out", log.with_name("models"))
    assert foldin("train", log, *arguments) == 2
    assert "--loss sampled is not for ease" in capsys.readouterr().err
