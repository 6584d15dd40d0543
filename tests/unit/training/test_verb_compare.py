"""``foldin compare`` as a user meets it."""

import json
from pathlib import Path

import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from training.comparison import compare as comparison
from training.comparison.contender import Contender
from training.comparison.run import Run, measured_run
from training.data.datasets import Dataset
from training.errors import BadInputError
from training.loop import Watcher
from training.verbs.compare import compare

app = typer.Typer()
app.command()(compare)
QUICK = ["--set", "latent_dim=4", "--set", "epochs=2", "--threads", "1", "--seeds", "2"]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Write ratings of 60 users, 8 films each, two of them disliked."""
    ratings = pl.DataFrame(
        [
            {"user_id": user, "item_id": (user * 3 + place * 5) % 40, "rating": 2 + 3 * (place > 1)}
            for user in range(60)
            for place in range(8)
        ]
    )
    ratings.write_csv(tmp_path / "ratings.csv")
    return tmp_path / "ratings.csv"


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def test_models_are_compared_kept_and_reported(log: Path, tmp_path: Path) -> None:
    record, report = tmp_path / "out" / "compare.json", tmp_path / "out" / "compare.html"
    options = [*QUICK, "--json", record, "--report", report]
    code, output = run(log, "--models", "popularity,cdae", *options)
    assert code == 0
    assert "best of the column" in output
    assert "NDCG@100 by the number of items in a history" in " ".join(output.split())
    written = json.loads(record.read_text())
    assert [(entry["model"], entry["seed"]) for entry in written["runs"]] == [
        ("popularity", 0),
        ("cdae", 0),
        ("cdae", 1),
    ]
    cdae = written["runs"][1]
    assert cdae["config"]["architecture"]["latent_dim"] == 4
    assert cdae["epochs"] == len(cdae["curve"]) == 2
    for key in ("valid", "test"):
        assert {"recall@20", "recall@50", "ndcg@10", "ndcg@100", "users"} <= set(cdae[key])
    for key in ("best_epoch", "seconds", "users_per_second", "peak_memory_bytes", "checkpoint"):
        assert key in cdae
    assert {row["model"] for row in written["summary"]} == {"popularity", "cdae"}
    assert "Learning curves" in report.read_text(encoding="utf-8")


def test_the_same_command_again_fits_nothing(log: Path, tmp_path: Path) -> None:
    command = [log, "--models", "cdae", *QUICK, "--json", tmp_path / "compare.json"]
    run(*command)
    before = (tmp_path / "compare.json").read_bytes()
    code, output = run(*command)
    assert code == 0
    assert "2 of 2 fits are there already" in output
    assert (tmp_path / "compare.json").read_bytes() == before


def test_an_interrupted_comparison_keeps_what_is_done_and_fails(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(contender: Contender, seed: int, dataset: Dataset, watcher: Watcher) -> Run:
        if seed == 1:
            raise KeyboardInterrupt
        return measured_run(contender, seed, dataset, watcher)

    monkeypatch.setattr(comparison, "measured_run", stopped)
    record, report = tmp_path / "compare.json", tmp_path / "compare.html"
    code, output = run(log, "--models", "cdae", *QUICK, "--json", record, "--report", report)
    assert code == 1
    assert "the same command goes on from here" in output
    assert len(json.loads(record.read_text())["runs"]) == 1
    assert report.exists()


def test_a_failing_model_is_told_and_one_that_is_left_is_enough(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(contender: Contender, seed: int, dataset: Dataset, watcher: Watcher) -> Run:
        if contender.name == "cdae":
            raise BadInputError("needs 12 GB")
        return measured_run(contender, seed, dataset, watcher)

    monkeypatch.setattr(comparison, "measured_run", refused)
    code, output = run(log, "--models", "popularity,cdae", *QUICK)
    assert code == 0
    assert "cdae failed: needs 12 GB" in output
    code, output = run(log, "--models", "cdae", *QUICK)
    assert code == 1
    assert "cdae failed: needs 12 GB" in output
    assert "recall" not in output  # no empty tables


def test_models_of_ratings_are_compared_on_ratings(log: Path, tmp_path: Path) -> None:
    record = tmp_path / "compare.json"
    code, _ = run(log, "--models", "mean,biases,autorec-user", *QUICK, "--json", record)
    assert code == 0
    runs = json.loads(record.read_text())["runs"]
    assert all(entry["test"]["rmse"] > 0 for entry in runs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--models", "cdea"], "unknown model 'cdea'"),
        (["--models", "cdae", "--set", "cdae.size=3"], "no setting 'size'"),
        (["--report", "."], "--report . is a folder"),
        (["--json", "."], "--json . is a folder"),
    ],
)
def test_bad_usage_is_said_before_the_data_is_read(options: list[str], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        run("no-such-file.csv", *options)
