"""EASE and EDLAE from a split to a model that serves."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service import checkpoint
from service.catalog import Catalog
from service.ranker import ModelRanker
from training import footprint, pruning
from training.closed_form import ClosedForm
from training.config import TrainingConfig
from training.data.datasets import Dataset
from training.data.split import Split
from training.errors import BadInputError
from training.evaluate import evaluate, ranked_lists
from training.experiment import run_experiment
from training.fitting import fit
from training.loop import Resumable, TrainingResult
from training.regularizer import Regularizer
from training.state import EpochReport

MODELS = ["ease", "edlae"]


class Listener:
    def __init__(self) -> None:
        self.users = 0.0

    def on_step(self, users: float) -> None:
        self.users += users

    def on_epoch(self, report: EpochReport, best_epoch: int) -> None:
        del report, best_epoch
        raise AssertionError("a closed form has no epochs")


@pytest.fixture
def dataset(planted_split: Split) -> Dataset:
    size = len(planted_split.item_ids)
    popularity_I = np.bincount(planted_split.train.indices, minlength=size)
    catalog = Catalog(planted_split.item_ids, ("",) * size, ((),) * size, popularity_I)
    return Dataset("planted", planted_split, catalog, None, "fingerprint", ())


def fitted(dataset: Dataset, model: str, **settings: Any) -> TrainingResult:  # noqa: ANN401 - of any setting
    return fit(TrainingConfig.of({"model": model, **settings}), dataset, Listener())


@pytest.mark.parametrize("model", MODELS)
def test_a_planted_structure_is_found(model: str, dataset: Dataset) -> None:
    listener = Listener()
    result = fit(TrainingConfig.of({"model": model}), dataset, listener)
    metrics = evaluate(ModelRanker(result.model), dataset.split.test)
    assert metrics.values["recall@20"] > 0.9  # a block holds 15 items; chance gives about 0.5
    assert (result.reports, result.best_epoch, result.interrupted) == ((), 0, False)
    assert result.users_per_second == pytest.approx(150 / result.seconds)
    assert 0 < listener.users <= 150


@pytest.mark.parametrize("model", MODELS)
def test_unpruned_it_ranks_as_the_closed_form_does(
    model: str, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "DENSITIES", (1.0,))
    settings = {"l2": 12.5, **({"dropout": 0.3} if model == "edlae" else {})}
    result = fitted(dataset, model, **settings)
    closed = ClosedForm(dataset.split.train, Regularizer(12.5, settings.get("dropout", 0.0)))
    assert result.facts["l2"] == 12.5
    assert result.facts["density"] > 0.95
    assert abs(result.facts["lost by pruning"]) < 1e-9
    figure = evaluate(closed, dataset.split.valid).ndcg_at_100
    assert result.facts["valid ndcg@100, every weight"] == pytest.approx(figure)
    lists = ranked_lists(ModelRanker(result.model), dataset.split.test)
    for first, second in zip(lists, ranked_lists(closed, dataset.split.test), strict=True):
        assert first.tolist() == second.tolist()


def test_a_larger_loss_may_be_had_for_a_sparser_matrix(dataset: Dataset) -> None:
    dense = fitted(dataset, "edlae", pruning_loss=0.0)
    sparse = fitted(dataset, "edlae", pruning_loss=0.2)
    assert sparse.facts["density"] < dense.facts["density"]
    assert sparse.model.linear is not None
    assert sparse.model.config.num_weights == len(sparse.model.linear.weight_M)
    lost = [sparse.facts[f"lost by pruning{of}"] for of in ("", ", standard error")]
    assert sum(lost) <= 0.2
    figure = evaluate(ModelRanker(sparse.model), dataset.split.valid).ndcg_at_100
    assert figure == pytest.approx(sparse.facts["valid ndcg@100, every weight"] - lost[0])


@pytest.mark.parametrize("model", MODELS)
def test_the_config_says_what_validation_chose(model: str, dataset: Dataset) -> None:
    config = fitted(dataset, model).model.config
    assert config.l2 > 0
    assert model == "ease" or 0 < config.dropout < 1
    again = fitted(dataset, model).model.config
    assert config == again


def test_items_that_nothing_speaks_for_come_by_popularity(dataset: Dataset) -> None:
    bias_I = fitted(dataset, "ease").model.item_bias_I.numpy()
    popularity_I = dataset.catalog.popularity_I
    np.testing.assert_allclose(bias_I, 1e-6 * popularity_I / popularity_I.max(), rtol=1e-6)


@pytest.mark.parametrize("model", MODELS)
def test_the_exported_model_is_the_measured_one(
    model: str, dataset: Dataset, tmp_path: Path
) -> None:
    config = TrainingConfig.of({"model": model})
    experiment = run_experiment(dataset, config, tmp_path, Listener(), resume=False)
    loaded = checkpoint.load(tmp_path)
    assert evaluate(ModelRanker(loaded.model), dataset.split.test) == experiment.metrics["test"]
    assert loaded.model.keeps_history
    assert loaded.manifest.config["num_weights"] > 0
    facts = experiment.to_dict()["facts"]
    assert {"l2", "density", "lost by pruning"} <= set(facts)
    assert loaded.manifest.metrics["facts"] == facts
    assert ("dropout" in facts) == (model == "edlae")


def test_what_does_not_fit_is_refused_before_anything_is_computed(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(footprint, "available_bytes", lambda: 1000)
    with pytest.raises(BadInputError, match="use elsa"):
        fitted(dataset, "edlae")


@pytest.mark.parametrize("model", MODELS)
def test_a_closed_form_has_nothing_to_resume_and_says_so(
    model: str, dataset: Dataset, tmp_path: Path
) -> None:
    listener = Listener()
    with pytest.raises(BadInputError, match=f"nothing to resume: {model} has a closed form"):
        fit(
            TrainingConfig.of({"model": model}),
            dataset,
            listener,
            Resumable(tmp_path, "run", resume=True),
        )
    assert listener.users == 0
