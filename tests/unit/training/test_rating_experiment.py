"""``foldin train`` and ``evaluate`` on ratings: what is printed, written, served and refused."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from service import canaries, checkpoint
from service.histories import UNKNOWN_USER
from service.ranker import ModelRanker
from training import cli
from training.config import TrainingConfig
from training.data.datasets import DataOptions, Dataset, load_dataset
from training.data.interactions import InteractionLog
from training.errors import BadInputError
from training.experiment import Experiment, run_experiment
from training.progress import TrainingProgress, results_table
from training.rating_metrics import measure_ratings

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


@pytest.fixture
def log(rated_log: InteractionLog, tmp_path: Path) -> Path:
    """Ratings on a scale that goes below zero, which no positive threshold is guessed for."""
    path = tmp_path / "ratings.csv"
    rated_log.frame.with_columns(rating=3 * (pl.col("rating") - 3)).write_csv(path)
    return path


def run(rated: Dataset, model: str, out: Path) -> tuple[Experiment, str]:
    config = TrainingConfig.of(
        {"model": model, "latent_dim": 8, "batch_size": 30, "epochs": 3, "threads": 1}
    )
    console = Console(file=io.StringIO(), width=160)
    with TrainingProgress(console, config.epochs, rated.split.train.shape[0]) as progress:
        experiment = run_experiment(rated, config, out, progress, resume=False)
    console.print(results_table(experiment))
    assert isinstance(console.file, io.StringIO)
    return experiment, console.file.getvalue()


@pytest.mark.parametrize("model", ["autorec-user", "autorec-item"])
def test_the_exported_model_is_the_measured_one(rated: Dataset, model: str, tmp_path: Path) -> None:
    assert rated.ratings is not None
    experiment, shown = run(rated, model, tmp_path)
    loaded = checkpoint.load(tmp_path)
    assert measure_ratings(loaded.model, rated.split, rated.ratings) == experiment.metrics
    assert loaded.manifest.metrics["test"]["rmse"] == experiment.to_dict()["test"]["rmse"]
    assert loaded.manifest.positive_threshold is None
    assert loaded.model.config.scale == rated.ratings.scale
    canaries.replay(ModelRanker(loaded.model), loaded.canaries)
    assert shown.startswith("epoch 1/3  loss ")
    for word in ("rmse", "mae", "mean", "biases (damping", model, "test ratings"):
        assert word in shown
    assert ("folded in" in shown) == (model == "autorec-item")


def test_canaries_of_a_model_of_ratings_are_rated_within_the_scale(
    rated: Dataset, tmp_path: Path
) -> None:
    run(rated, "autorec-item", tmp_path)
    loaded = checkpoint.load(tmp_path)
    weights = {weight for c in loaded.canaries for weight in c.history.weight_N.tolist()}
    scale = loaded.model.config.scale
    assert len(weights) > 50
    assert scale.lowest <= min(weights) < max(weights) <= scale.highest
    users = {canary.user_index >= 0 for canary in loaded.canaries}
    assert users == {True, False}
    assert UNKNOWN_USER in {canary.user_index for canary in loaded.canaries}


def test_a_bundle_leaves_what_encodes_items_behind(rated: Dataset, tmp_path: Path) -> None:
    run(rated, "autorec-item", tmp_path)
    loaded = checkpoint.load(tmp_path)
    num_users, num_items = rated.split.train.shape
    assert {name: tuple(value.shape) for name, value in loaded.model.state_dict().items()} == {
        "item_vectors_IH": (num_items, 9),
        "item_bias_I": (num_items,),
        "user_rows_UD": (num_users, 9),
        "mean_row_D": (9,),
    }
    assert loaded.user_ids == rated.split.user_ids


@pytest.mark.parametrize("model", ["autorec-user", "autorec-item"])
def test_a_log_of_ratings_becomes_a_measured_bundle(
    foldin: Foldin, log: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, record = tmp_path / "models", tmp_path / "run.json"
    small = ["--set", "latent_dim=8", "--epochs", 2, "--threads", 1, "--split-seed", 7]
    assert foldin("train", log, "--model", model, *small, "--out", out, "--json", record) == 0
    printed = capsys.readouterr().out
    assert "ratings split, scale -6 to 6" in printed
    written = json.loads(record.read_text())
    assert {"rmse", "mae", "ratings", "strays"} == set(written["test"])
    assert written["config"]["loss"] == "masked"
    assert written["baselines"]["mean"]["test"]["rmse"] > 0

    figures = tmp_path / "figures.json"
    assert foldin("evaluate", out, log, "--json", figures) == 0
    assert json.loads(figures.read_text())["test"] == written["test"]
    assert "not the data and split" not in capsys.readouterr().out
    assert foldin("verify", out) == 0


def test_a_log_without_ratings_is_refused_in_words(
    foldin: Foldin, log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pl.read_csv(log).drop("rating").write_csv(log)
    code = foldin("train", log, "--model", "autorec-item", "--out", tmp_path / "models")
    assert code == 2
    assert "learns from ratings, and the log has none" in capsys.readouterr().err
    assert not (tmp_path / "models").exists()


def test_a_data_set_of_ratings_keeps_low_ones_and_small_users(log: Path) -> None:
    plain = DataOptions(positive_threshold=0)
    implicit = load_dataset(str(log), plain)
    dataset = load_dataset(str(log), plain.model_copy(update={"ratings": True, "split_seed": 3}))
    assert dataset.ratings is not None
    assert implicit.ratings is None
    assert dataset.positive_threshold is None
    assert dataset.split_seed == 3
    assert dataset.split.train.data.min() < -3
    assert dataset.fingerprint != implicit.fingerprint
    assert len(dataset.catalog) == len(dataset.split.item_ids)
    assert any("ratings to learn from" in note for note in dataset.notes)
    with pytest.raises(BadInputError, match="--positive-threshold"):
        load_dataset(str(log), DataOptions())
