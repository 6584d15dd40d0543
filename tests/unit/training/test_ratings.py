"""AutoRec from ratings to a model: it learns, resumes, and is served as it was trained."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from service.autoencoders.autorec_item import AutoRecItem
from service.autoencoders.autorec_user import AutoRecUser
from service.histories import UNKNOWN_USER
from training.config import TrainingConfig
from training.data.datasets import Dataset
from training.data.split import HeldOut
from training.errors import BadInputError
from training.fitting import fit
from training.loop import Resumable, TrainingResult
from training.rating_baselines import measure_rating_baselines
from training.rating_metrics import evaluate_ratings, measure_ratings, predictions
from training.ratings import RIDGES
from training.state import EpochReport

MODELS = ("autorec-user", "autorec-item")
NO_STRAYS = np.empty(0, dtype=np.float32)


class Listener:
    """Hears of epochs; may raise at one of them, as Ctrl-C does."""

    def __init__(self, interrupt_after: int | None = None) -> None:
        self.users = 0.0
        self.epochs = 0
        self._interrupt_after = interrupt_after

    def on_step(self, users: float) -> None:
        self.users += users
        if self._interrupt_after is not None and self.epochs >= self._interrupt_after:
            raise KeyboardInterrupt

    def on_epoch(self, report: EpochReport, best_epoch: int) -> None:
        del best_epoch
        self.epochs = report.epoch


def config(model: str, **settings: object) -> TrainingConfig:
    base = {"latent_dim": 16, "dropout": 0.2, "batch_size": 20, "learning_rate": 0.02}
    return TrainingConfig.of({"model": model, "epochs": 6, "threads": 1, **base, **settings})


def without_time(reports: tuple[EpochReport, ...]) -> list[EpochReport]:
    return [replace(report, train_s=0, eval_s=0) for report in reports]


def assert_same_run(first: TrainingResult, second: TrainingResult) -> None:
    assert without_time(first.reports) == without_time(second.reports)
    assert first.best_epoch == second.best_epoch
    assert first.facts == second.facts
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name


@pytest.mark.parametrize("model", MODELS)
def test_ratings_of_low_rank_are_predicted_far_better_than_by_means(
    model: str, rated: Dataset
) -> None:
    assert rated.ratings is not None
    result = fit(config(model, epochs=60), rated, Listener())
    measured = measure_ratings(result.model, rated.split, rated.ratings)
    rivals = measure_rating_baselines(rated.split, rated.ratings)
    best_rival = min(parts["test"].rmse for parts in rivals.values())
    assert {figures.ratings for figures in measured.values()} == {
        rivals["mean"]["valid"].ratings, rivals["mean"]["test"].ratings
    }  # fmt: skip
    for part, figures in measured.items():
        assert figures.rmse < 0.45 * best_rival, part


@pytest.mark.parametrize("model", MODELS)
def test_the_epoch_with_the_least_validation_rmse_is_kept(model: str, rated: Dataset) -> None:
    assert rated.ratings is not None
    result = fit(config(model, epochs=200, patience=3, weight_decay=0.0), rated, Listener())
    curve = [report.valid["rmse"] for report in result.reports]
    assert result.best_epoch == int(np.argmin(curve)) + 1
    assert len(curve) == result.best_epoch + 3 < 200
    measured = measure_ratings(result.model, rated.split, rated.ratings)
    assert measured["valid"].rmse == pytest.approx(min(curve), abs=1e-6)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("epochs", [1, 4])
def test_an_interrupted_run_resumes_to_the_same_end(
    model: str, epochs: int, rated: Dataset, tmp_path: Path
) -> None:
    whole = fit(config(model), rated, Listener())
    fresh = Resumable(tmp_path, "run", resume=False)
    part = fit(config(model), rated, Listener(interrupt_after=epochs), fresh)
    assert part.interrupted
    assert len(part.reports) == epochs
    rest = fit(config(model), rated, Listener(), replace(fresh, resume=True))
    assert_same_run(whole, rest)


@pytest.mark.parametrize("model", MODELS)
def test_an_epoch_adds_up_to_all_users_whichever_side_is_restored(
    model: str, rated: Dataset
) -> None:
    listener = Listener()
    result = fit(config(model, epochs=2), rated, listener)
    assert listener.users == pytest.approx(2 * rated.split.train.shape[0])
    train_s = sum(report.train_s for report in result.reports)
    assert result.users_per_second * train_s == pytest.approx(listener.users)


def test_the_item_based_model_predicts_what_its_network_did(rated: Dataset) -> None:
    """Dense and by hand: the network restores item columns, the model multiplies user rows."""
    network = fit(config("autorec-user", centred=False), _turned(rated), Listener()).model
    served = fit(config("autorec-item"), rated, Listener()).model
    assert isinstance(network, AutoRecUser)
    assert isinstance(served, AutoRecItem)
    ratings_IU = torch.from_numpy(rated.split.train.T.toarray())
    code_IH = torch.sigmoid(ratings_IU @ network.input.weight_IH + network.input.bias_H)
    expected_IU = code_IH @ network.item_vectors_IH.T + network.item_bias_I
    found_UI = served.user_rows_UD @ served.item_vectors_IH.T + served.item_bias_I
    torch.testing.assert_close(found_UI.T, expected_IU, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(served.mean_row_D, served.user_rows_UD.mean(dim=0))


def _turned(rated: Dataset) -> Dataset:
    """Exchange users and items, so that the user-based model restores items."""
    split, valid = rated.split, rated.split.valid
    rating_UI = np.zeros(split.train.shape, dtype=np.float32)
    rating_UI[valid.user_index_U] = valid.target.toarray()
    turned = HeldOut(
        history=split.train.T.tocsr(),
        target=type(split.train)(rating_UI.T),
        user_ids=split.item_ids,
        user_index_U=np.arange(len(split.item_ids)),
    )
    return replace(rated, split=replace(split, train=split.train.T.tocsr(), valid=turned))


def test_validation_chooses_the_ridge_unless_it_is_given(rated: Dataset) -> None:
    free = fit(config("autorec-item"), rated, Listener())
    assert isinstance(free.model, AutoRecItem)
    valid = rated.split.valid
    strangers = replace(valid, user_index_U=np.full(len(valid.user_ids), UNKNOWN_USER))
    rmse_of: dict[float, float] = {}
    shape = free.model.config
    for ridge in RIDGES:
        free.model.config = replace(shape, ridge=ridge)
        rmse_of[ridge] = evaluate_ratings(free.model, strangers, NO_STRAYS).rmse
    assert free.facts == {"ridge": shape.ridge}
    assert shape.ridge == min(rmse_of, key=rmse_of.__getitem__)
    given = fit(config("autorec-item", ridge=7.0), rated, Listener())
    assert given.model.config.ridge == 7
    assert given.facts == {}


@pytest.mark.parametrize("model", MODELS)
def test_a_model_knows_the_scale_of_its_ratings_and_may_be_told_a_wider_one(
    model: str, rated: Dataset
) -> None:
    assert rated.ratings is not None
    plain = fit(config(model, epochs=1), rated, Listener()).model
    assert plain.config.scale == rated.ratings.scale
    wider: Mapping[str, Any] = {"scale": {"highest": 9.0}}
    told = fit(config(model, epochs=1, **wider), rated, Listener()).model
    assert told.config.scale == replace(rated.ratings.scale, highest=9.0)


@pytest.mark.parametrize("model", MODELS)
def test_a_log_split_for_plain_interactions_is_refused(model: str, rated: Dataset) -> None:
    with pytest.raises(BadInputError, match=f"{model} learns from ratings"):
        fit(config(model), replace(rated, ratings=None), Listener())


def test_predictions_lie_in_the_order_of_the_target_however_many_blocks(
    rated: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fit(config("autorec-user", epochs=1), rated, Listener()).model
    whole_N = predictions(model, rated.split.test)
    monkeypatch.setattr("training.rating_metrics.ROWS_PER_BLOCK", 7)
    np.testing.assert_allclose(predictions(model, rated.split.test), whole_N, rtol=1e-6)
    assert whole_N.shape == rated.split.test.target.data.shape
