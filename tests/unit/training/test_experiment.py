"""From a dataset to a bundle: what is exported is what was measured."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from rich.console import Console

from service import canaries, checkpoint
from service.catalog import Catalog
from service.ranker import ModelRanker
from training import baselines, experiment
from training.config import TrainingConfig
from training.data.datasets import Dataset
from training.data.split import Split
from training.errors import BadInputError, TrainingDivergedError
from training.evaluate import evaluate
from training.experiment import Experiment, run_experiment
from training.fitting import fit
from training.loop import TrainingResult
from training.metrics import RankingMetrics
from training.progress import TrainingProgress, metrics_table, results_table
from training.state import STATE_FILE

SETTINGS: dict[str, dict[str, Any]] = {
    "multvae": {"latent_dim": 8, "hidden_dims": [16], "batch_size": 50, "epochs": 3},
    "cdae": {"latent_dim": 8, "batch_size": 50, "epochs": 3},
    "hybrid": {"batch_size": 50, "epochs": 2},
}


@pytest.fixture
def dataset(planted_split: Split) -> Dataset:
    size = len(planted_split.item_ids)
    popularity_I = np.bincount(planted_split.train.indices, minlength=size)
    catalog = Catalog(planted_split.item_ids, ("",) * size, ((),) * size, popularity_I)
    return Dataset("planted", planted_split, catalog, 4.0, "fingerprint", ())


def run(
    dataset: Dataset, model: str, out: Path, *, terminal: bool = False, resume: bool = False
) -> tuple[Experiment, str]:
    config = TrainingConfig.of({"model": model, "threads": 1, **SETTINGS[model]})
    console = Console(file=io.StringIO(), force_terminal=terminal, width=160)
    with TrainingProgress(console, config.epochs, 150) as progress:
        experiment = run_experiment(dataset, config, out, progress, resume=resume)
    console.print(results_table(experiment))
    assert isinstance(console.file, io.StringIO)
    return experiment, console.file.getvalue()


@pytest.mark.parametrize("model", sorted(SETTINGS))
def test_the_exported_model_is_the_measured_one(
    dataset: Dataset, model: str, tmp_path: Path
) -> None:
    experiment, _ = run(dataset, model, tmp_path)
    loaded = checkpoint.load(tmp_path)
    assert checkpoint.resolve(tmp_path) == experiment.bundle
    again = evaluate(ModelRanker(loaded.model), dataset.split.test)
    assert again == experiment.metrics["test"]
    assert loaded.manifest.metrics["test"]["ndcg@100"] == again.ndcg_at_100
    assert loaded.manifest.positive_threshold == 4
    assert loaded.manifest.training["epochs"] == SETTINGS[model]["epochs"]
    assert loaded.user_ids == (() if model == "multvae" else dataset.split.user_ids)
    canaries.replay(ModelRanker(loaded.model), loaded.canaries)


def test_canaries_are_of_all_lengths_and_hold_nobodys_history(
    dataset: Dataset, tmp_path: Path
) -> None:
    run(dataset, "cdae", tmp_path)
    recorded = checkpoint.load(tmp_path).canaries
    assert {len(canary.history) for canary in recorded} == {0, 1, 2, 3, 5, 8, 13, 21, 34, 45}
    assert {canary.user_index >= 0 for canary in recorded} == {True, False}


def test_the_record_has_what_was_promised(dataset: Dataset, tmp_path: Path) -> None:
    experiment, _ = run(dataset, "multvae", tmp_path)
    record = experiment.to_dict()
    assert {
        "model", "config", "seed", "valid", "test", "epochs", "best_epoch", "seconds",
        "users_per_second", "peak_memory_bytes", "checkpoint",
    } <= set(record)  # fmt: skip
    assert {"recall@20", "recall@50", "ndcg@10", "ndcg@100", "users"} <= set(record["test"])
    assert record["epochs"] == 3
    assert record["peak_memory_bytes"] > 10_000_000
    assert "popularity" in record["baselines"]


def test_the_record_tells_of_every_dimension_where_there_is_a_posterior(
    dataset: Dataset, tmp_path: Path
) -> None:
    record = run(dataset, "multvae", tmp_path / "vae")[0].to_dict()
    told = record["kl_per_dimension"]
    assert sorted(entry["dimension"] for entry in told) == list(range(8))
    assert [entry["kl"] for entry in told] == sorted((e["kl"] for e in told), reverse=True)
    assert 0 <= record["active_dimensions"] <= 8
    manifest = checkpoint.load(tmp_path / "vae").manifest
    assert manifest.metrics["posterior"] == {
        "dimensions": 8,
        "active_dimensions": record["active_dimensions"],
        "kl_per_dimension": told,
    }
    assert "kl_per_dimension" not in run(dataset, "cdae", tmp_path / "cdae")[0].to_dict()
    assert "posterior" not in checkpoint.load(tmp_path / "cdae").manifest.metrics


def test_a_finished_run_leaves_a_bundle_and_nothing_to_resume(
    dataset: Dataset, tmp_path: Path
) -> None:
    experiment, _ = run(dataset, "multvae", tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {experiment.bundle.name, "CURRENT"}
    with pytest.raises(BadInputError, match="nothing to resume"):
        run(dataset, "multvae", tmp_path, resume=True)


def test_a_run_that_is_stopped_while_the_rivals_are_measured_can_be_resumed(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bundle is there, its record is not yet."""

    def interrupted(dataset: Dataset) -> NoReturn:
        del dataset
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(experiment, "measure_rivals", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(dataset, "cdae", tmp_path)
    first = checkpoint.load(tmp_path)
    resumed, _ = run(dataset, "cdae", tmp_path, resume=True)
    again = checkpoint.load(tmp_path)
    assert resumed.baselines
    assert again.manifest.files == first.manifest.files


@pytest.mark.parametrize("value", [np.nan, 3e38])
def test_a_model_that_is_not_finite_or_answers_so_is_not_exported(
    dataset: Dataset, tmp_path: Path, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoilt(*arguments: Any) -> TrainingResult:  # noqa: ANN401 - as of fit
        result = fit(*arguments)
        result.model.state_dict()["item_bias_I"].fill_(value)
        result.model.state_dict()["item_vectors_IH"].fill_(value)
        return result

    monkeypatch.setattr(experiment, "fit", spoilt)
    with pytest.raises(TrainingDivergedError, match="nothing was exported: lower learning_rate"):
        run(dataset, "cdae", tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {STATE_FILE}


def test_a_hybrid_tells_whose_epoch_a_line_is_of_and_keeps_every_curve(
    dataset: Dataset, tmp_path: Path
) -> None:
    (tmp_path / ".hybrid-recvae").mkdir()
    experiment, shown = run(dataset, "hybrid", tmp_path)
    lines = [line.split("  ")[0] for line in shown.splitlines() if "loss" in line]
    assert lines == ["cdae epoch 1/2", "cdae epoch 2/2", "multvae epoch 1/2", "multvae epoch 2/2"]
    curves = experiment.to_dict()["parent_curves"]
    assert [report["epoch"] for report in curves["cdae"]] == [1, 2]
    assert {"beta", "regularizer", "valid"} <= set(curves["multvae"][0])
    # The states are of use until there is a bundle, and no longer.
    assert {path.name for path in tmp_path.iterdir()} == {experiment.bundle.name, "CURRENT"}


def test_the_curve_is_in_the_record(dataset: Dataset, tmp_path: Path) -> None:
    record = run(dataset, "multvae", tmp_path)[0].to_dict()
    assert [report["epoch"] for report in record["curve"]] == [1, 2, 3]
    assert "parent_curves" not in record


def test_without_a_terminal_every_epoch_is_a_plain_line(dataset: Dataset, tmp_path: Path) -> None:
    _, shown = run(dataset, "multvae", tmp_path)
    lines = shown.splitlines()
    assert [line.split("  ")[0] for line in lines[:3]] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    for word in ("loss", "beta", "ndcg@100", "users/s", "ETA"):
        assert word in lines[0]
    assert "popularity" in shown
    assert "ease" in shown
    assert "\x1b" not in shown


def test_the_table_says_when_a_rival_is_left_out(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "left out: more than" not in run(dataset, "cdae", tmp_path / "one")[1]
    monkeypatch.setattr(baselines, "EASE_MAX_ITEMS", 10)
    assert "EASE left out: more than" in run(dataset, "cdae", tmp_path / "two")[1]


def test_on_a_terminal_there_is_a_bar(dataset: Dataset, tmp_path: Path) -> None:
    _, shown = run(dataset, "multvae", tmp_path, terminal=True)
    assert "3/3" in shown
    assert "ndcg@100" in shown


def test_the_table_says_how_many_users_the_figures_are_over(
    dataset: Dataset, tmp_path: Path
) -> None:
    experiment, _ = run(dataset, "cdae", tmp_path)
    measured = experiment.metrics["test"]
    assert isinstance(measured, RankingMetrics)
    metrics = replace(measured, users_without_target=1234)
    console = Console(file=io.StringIO(), width=160)
    console.print(metrics_table({"model": metrics}, "title"))
    assert isinstance(console.file, io.StringIO)
    assert "1,234" in console.file.getvalue()
