"""``foldin tune`` as a user meets it."""

import io
import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console
from typer import Typer
from typer.testing import CliRunner, Result

from training.config import TrainingConfig
from training.errors import BadInputError
from training.presets import preset
from training.state import EpochReport
from training.study import Outcome
from training.tune import search_for
from training.tuning_progress import TuningProgress
from training.verbs.train import train
from training.verbs.tune import tune

Foldin = Callable[..., Result]


@pytest.fixture
def foldin() -> Foldin:
    app = Typer()
    for verb in (tune, train):
        app.command()(verb)
    return lambda *arguments: CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    rows = [
        {"user_id": user, "item_id": (user * 3 + place * 5) % 40}
        for user in range(60)
        for place in range(8)
    ]
    pl.DataFrame(rows).write_csv(tmp_path / "log.csv")
    return tmp_path / "log.csv"


SMALL = ["--epochs", 2, "--threads", 1, "--set", "hidden_dims=[8]"]


def test_the_best_settings_go_round_from_tune_to_train(
    foldin: Foldin, log: Path, tmp_path: Path
) -> None:
    out, record = tmp_path / "tuned", tmp_path / "tuned.json"
    options = ["--model", "multvae", "--trials", 3, "--out", out, "--json", record]
    done = foldin("tune", log, *options, *SMALL)
    assert done.exit_code == 0, done.output
    for line in ("trial 1/3  ndcg@100", "trial 3/3", "; the preset: 0."):
        assert line in done.output
    text = (out / "multvae.toml").read_text()
    assert text in done.output
    found = json.loads(record.read_text())
    assert tomllib.loads(text) == found["best"]["settings"]
    assert "threads" not in found["best"]["settings"]
    assert len(found["trials"]) == 3
    assert found["preset"] == found["trials"][0]["value"]

    run = tmp_path / "run.json"
    config = ["--config", out / "multvae.toml", "--threads", 1]
    trained = foldin(
        "train", log, "--model", "multvae", *config, "--out", tmp_path / "m", "--json", run
    )
    assert trained.exit_code == 0, trained.output
    expected = TrainingConfig.of(preset("multvae", 100) | found["best"]["settings"])
    written = json.loads(run.read_text())
    ours = expected.model_copy(update={"threads": 1}).model_dump(mode="json")
    assert written["config"] == json.loads(json.dumps(ours))
    assert written["valid"]["ndcg@100"] == pytest.approx(found["best"]["value"], abs=1e-4)


def test_the_same_command_again_goes_on(foldin: Foldin, log: Path, tmp_path: Path) -> None:
    storage = tmp_path / "elsewhere" / "s.jsonl"
    options = ["--model", "cdae", "--out", tmp_path / "t", "--storage", storage, "--epochs", 1]
    foldin("tune", log, *options, "--trials", 1)
    again = foldin("tune", log, *options, "--trials", 2)
    assert "trial 1/2" not in again.output
    assert "trial 2/2" in again.output
    finished = foldin("tune", log, *options, "--trials", 2)
    assert "(trial" in finished.output
    other = tmp_path / "other.csv"
    other.write_text(log.read_text().replace("\n0,", "\n100,"))
    refused = foldin("tune", other, *options, "--trials", 2)
    assert isinstance(refused.exception, BadInputError)
    assert "on other data" in str(refused.exception)


def test_a_search_without_a_finished_run_has_no_best_settings(
    foldin: Foldin, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: TuningProgress, users: float) -> None:
        del self, users
        raise KeyboardInterrupt

    monkeypatch.setattr(TuningProgress, "on_step", interrupted)
    record = tmp_path / "tuned.json"
    done = foldin("tune", log, "--model", "multvae", "--out", tmp_path, "--json", record, *SMALL)
    assert done.exit_code == 1
    assert "interrupted: the same command goes on from here" in done.output
    assert "there are no best settings" in done.output
    assert json.loads(record.read_text())["best"] is None
    assert not (tmp_path / "multvae.toml").exists()


def test_a_typo_shows_before_the_data_is_read(foldin: Foldin, tmp_path: Path) -> None:
    done = foldin("tune", tmp_path / "gone.csv", "--model", "multvae", "--set", "latent=3")
    assert "no setting 'latent'" in str(done.exception)
    assert not (tmp_path / "foldin-tune").exists()


def test_a_terminal_has_a_bar_and_the_same_lines(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=200)
    search = search_for("multvae", {"epochs": 4}, 1000, tmp_path / "s", 3)
    report = EpochReport(1, 2.0, 0.0, 0.0, {"ndcg@100": 0.4}, 1.0, 0.1)
    with TuningProgress(console, search, 10) as progress:
        progress.on_step(5)
        progress._bar.refresh()
        progress.on_epoch(report, 1)
        first = Outcome(0, "complete", 0.41, {}, {"seconds": 2.0, "epochs": 4})
        progress.on_trial(first, first)
        pruned = Outcome(1, "pruned", 0.2, {"dropout": 0.25}, {"seconds": 1.0, "epochs": 2})
        progress.on_trial(pruned, first)
        failed = Outcome(2, "failed", None, {"loss": "x"}, {"seconds": 1.0, "reason": "nan"})
        progress.on_trial(failed, None)
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "epoch 0.5 of 4 at most" in shown
    assert "ndcg@100 0.4100  (best 0.4100, trial 1)  2 s  ETA" in shown
    assert "0.2000 stopped after epoch 2  (best 0.4100, trial 1)" in shown
    assert "dropout=0.25" in shown
    assert "failed: nan" in shown
