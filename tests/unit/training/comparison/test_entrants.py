"""Names and settings become contenders; what is wrong is said before anything is fitted."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from service.autoencoders import ARCHITECTURES
from service.autoencoders.rating_scale import RatingScale
from training.comparison.contender import RatingPredictor
from training.comparison.entrants import contenders, default_names, parse_settings
from training.comparison.rivals import RIVALS
from training.data.datasets import Dataset
from training.data.ratings import Ratings
from training.errors import BadInputError
from training.presets import preset


def test_by_default_everything_that_ranks_is_compared_and_nothing_that_predicts_ratings() -> None:
    names = default_names()
    assert names[0] == "popularity"
    assert names[-1] == "hybrid"
    assert names.index("ease") < names.index("multvae")
    assert len(names) == len(set(names))
    assert set(names) == {
        name
        for name in [*RIVALS, *ARCHITECTURES]
        if not name.startswith("autorec") and name not in {"mean", "biases"}
    }


def test_settings_go_to_the_model_they_name_or_to_all_models() -> None:
    texts = ["multvae.epochs=3", "threads=1", "ials.l2=0.5"]
    assert parse_settings(texts, ["popularity", "ials", "multvae", "cdae"]) == {
        "popularity": {},
        "ials": {"l2": 0.5},
        "multvae": {"epochs": 3, "threads": 1},
        "cdae": {"threads": 1},
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("multvae.epochs=3", "'multvae' is not among --models"),
        ("cdae.seed=3", "compare sets seed itself"),
        ("model=ease", "compare sets model itself"),
        ("cdae.epochs", "write key=value"),
    ],
)
def test_settings_that_mean_nothing_are_refused(text: str, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        parse_settings([text], ["cdae"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cdea": {}}, "unknown model 'cdea'; there are: popularity"),
        ({"cdae": {"size": 3}}, "cdae has no setting 'size'"),
        ({"popularity": {"size": 3}}, "popularity has no setting 'size'"),
        ({"ials": {"dim": 3}}, "ials has no setting 'dim'; there are: latent_dim"),
        ({"ials": {"l2": "much"}}, "setting ials.l2"),
        ({"ials": {"latent_dim": 0}}, "setting ials.latent_dim: Input should be greater than"),
        ({"ials": {"epochs": 0}}, "setting ials.epochs"),
        ({"ials": {"l2": 0.0}}, "setting ials.l2"),
        ({"ials": {"l2": float("nan")}}, "setting ials.l2"),
        ({"ials": {"absent_weight": -0.1}}, "setting ials.absent_weight"),
        ({"ials": {"absent_weight": float("inf")}}, "setting ials.absent_weight"),
        ({"item-knn": {"neighbours": 0}}, "setting item-knn.neighbours"),
        ({"item-knn": {"exponent": 1.5}}, "setting item-knn.exponent"),
        ({"item-knn": {"exponent": float("nan")}}, "setting item-knn.exponent"),
        ({"item-knn": {"shrinkage": -1.0}}, "setting item-knn.shrinkage"),
        ({"item-knn": {"shrinkage": float("inf")}}, "setting item-knn.shrinkage"),
        ({"cdae": {}, "autorec-item": {}}, "compare them in two calls"),
    ],
)
def test_contenders_that_cannot_be_are_refused(
    settings: dict[str, dict[str, Any]], message: str
) -> None:
    with pytest.raises(BadInputError, match=message):
        contenders(settings, 1000)


def test_a_model_is_fitted_with_its_preset_for_the_size_and_what_was_said() -> None:
    (made,) = contenders({"multvae": {"epochs": 7}}, 1_000_000)
    assert made.config["batch_size"] == preset("multvae", 1_000_000)["batch_size"]
    assert made.config["epochs"] == 7
    assert "seed" not in made.config
    assert made.settings == {"epochs": 7}
    assert list(made.seeds(3)) == [0, 1, 2]


@pytest.mark.parametrize("name", ["popularity", "item-knn", "ease", "edlae"])
def test_what_knows_no_chance_is_fitted_once(name: str) -> None:
    (made,) = contenders({name: {}}, 1000)
    assert list(made.seeds(3)) == [0]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("popularity", {}),
        ("item-knn", {"neighbours": 10, "shrinkage": 0}),
        ("ials", {"latent_dim": 4, "epochs": 1, "l2": 0.2, "absent_weight": 0.3}),
        ("ease", {"l2": 5.0}),
        ("cdae", {"latent_dim": 4, "epochs": 2, "batch_size": 50, "threads": 1}),
    ],
)
def test_contenders_fit_and_rank(
    name: str,
    settings: dict[str, Any],
    dataset: Dataset,
    run: Any,  # noqa: ANN401 - a fixture's function
) -> None:
    (made,) = contenders({name: settings}, dataset.split.train.nnz)
    measured = run(made)
    assert measured.test["ndcg@100"] > 0.2
    assert measured.epochs == settings.get("epochs", 0) * (name == "cdae")


def test_a_seed_reaches_the_fit(
    dataset: Dataset,
    run: Any,  # noqa: ANN401 - a fixture's function
) -> None:
    said = {"latent_dim": 4, "epochs": 1, "threads": 1, "batch_size": 50}
    (made,) = contenders({"multvae": {**said, "hidden_dims": [8]}}, dataset.split.train.nnz)
    losses = [run(made, seed).curve[0].loss for seed in (0, 1, 0)]
    assert losses[0] == losses[2] != losses[1]


@pytest.fixture
def rated(dataset: Dataset) -> Dataset:
    """Give the planted likes for ratings, and ask known users for one rating each."""
    split = dataset.split
    train = split.train.copy()
    train.data = np.random.default_rng(0).integers(1, 6, train.nnz).astype(np.float32)
    users = np.arange(30)
    target = csr_array((np.full(30, 4, np.float32), (users, users)), shape=(30, 45))
    held_out = replace(
        split.valid, history=train[:30], target=target, user_index_U=users.astype(np.int64)
    )
    nobody = np.empty(0, dtype=np.float32)
    ratings = Ratings(RatingScale(1, 5, 3, 4.5), {"valid": nobody, "test": nobody})
    rated = replace(split, train=train, valid=held_out, test=held_out, protocol="ratings")
    return replace(dataset, split=rated, ratings=ratings)


@pytest.mark.parametrize(
    ("name", "settings"),
    [("mean", {}), ("biases", {}), ("autorec-user", {"latent_dim": 4, "epochs": 1, "threads": 1})],
)
def test_models_of_ratings_are_measured_by_their_errors(
    name: str,
    settings: dict[str, Any],
    rated: Dataset,
    listener: Any,  # noqa: ANN401 - the Listener of conftest.py, which cannot be imported
) -> None:
    (made,) = contenders({name: settings}, rated.split.train.nnz)
    assert made.reads_ratings
    outcome = made.fit(rated, 0, listener).outcome
    assert isinstance(outcome, RatingPredictor)
    figures = outcome.measure()["test"].to_dict()
    assert 0 < figures["rmse"] < 2.5
    assert figures["ratings"] == 30


def test_without_ratings_there_is_nothing_to_predict(
    dataset: Dataset,
    listener: Any,  # noqa: ANN401 - as above
) -> None:
    (made,) = contenders({"biases": {}}, 1000)
    with pytest.raises(BadInputError, match="no ratings to predict"):
        made.fit(dataset, 0, listener)
