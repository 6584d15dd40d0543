import numpy as np
import pytest

from service.autoencoders.rating_scale import RatingScale
from training.data.datasets import Dataset
from training.rating_baselines import DAMPINGS, Biases, measure_rating_baselines
from training.rating_metrics import RatingMetrics, pooled, rating_metrics

SCALE = RatingScale(lowest=1, highest=5, mean=3, typical=4)


def test_errors_are_of_clipped_predictions_and_strays_are_predicted_as_the_mean() -> None:
    metrics = rating_metrics(
        np.array([9.0, -2.0, 3.5]), np.array([5.0, 2.0, 3.0]), np.array([5.0]), SCALE
    )
    errors = [0, -1, 0.5, -2]
    assert metrics.rmse == pytest.approx(np.sqrt(np.mean(np.square(errors))))
    assert metrics.mae == pytest.approx(np.mean(np.abs(errors)))
    assert metrics.to_dict() == {
        "rmse": metrics.rmse, "mae": metrics.mae, "ratings": 4, "strays": 1
    }  # fmt: skip


def test_errors_of_shards_pool_to_those_of_all_ratings() -> None:
    predicted_N, rating_N = np.array([1.5, 3.0, 4.0]), np.array([2.0, 5.0, 4.0])
    stray_M, none = np.array([5.0]), np.array([])
    shards = [
        rating_metrics(predicted_N[:2], rating_N[:2], stray_M, SCALE),
        rating_metrics(none, none, none, SCALE),
        rating_metrics(predicted_N[2:], rating_N[2:], none, SCALE),
    ]
    whole = rating_metrics(predicted_N, rating_N, stray_M, SCALE)
    assert pooled(shards).to_dict() == pytest.approx(whole.to_dict())
    assert pooled([whole]) == whole == RatingMetrics.of(whole.to_dict())


def test_biases_solve_a_log_that_is_made_of_biases(rated: Dataset) -> None:
    train = rated.split.train.copy()
    user_bias_U = np.linspace(-1, 1, train.shape[0])
    item_bias_I = np.linspace(-0.5, 0.5, train.shape[1])
    entries = train.tocoo()
    train.data[:] = 3 + user_bias_U[entries.row] + item_bias_I[entries.col]
    biases = Biases.fitted(train, 3.0, damping=1e-9)
    held_out = rated.split.test
    asked = held_out.target.tocoo()
    expected_N = 3 + user_bias_U[held_out.user_index_U[asked.row]] + item_bias_I[asked.col]
    np.testing.assert_allclose(biases.predictions(held_out), expected_N, atol=0.02)


def test_damping_draws_biases_to_zero(rated: Dataset) -> None:
    train = rated.split.train
    free, damped = (Biases.fitted(train, 3.0, damping) for damping in (1.0, 1e9))
    assert np.abs(free.user_bias_U).max() > 0.1
    assert np.abs(damped.user_bias_U).max() < 1e-5


def test_the_mean_is_the_rival_of_all_and_validation_picks_the_damping(rated: Dataset) -> None:
    assert rated.ratings is not None
    measured = measure_rating_baselines(rated.split, rated.ratings)
    (mean_name, mean), (biases_name, biases) = measured.items()
    assert mean_name == "mean"
    asked = np.concatenate([rated.split.test.target.data, rated.ratings.strays["test"]])
    errors = asked - rated.ratings.scale.mean
    assert mean["test"].rmse == pytest.approx(float(np.sqrt(np.mean(errors**2))), rel=1e-6)
    by_damping = {
        damping: rating_metrics(
            Biases.fitted(rated.split.train, rated.ratings.scale.mean, damping).predictions(
                rated.split.valid
            ),
            rated.split.valid.target.data,
            rated.ratings.strays["valid"],
            rated.ratings.scale,
        ).rmse
        for damping in DAMPINGS
    }
    assert biases["valid"].rmse == min(by_damping.values())
    best = min(by_damping, key=by_damping.__getitem__)
    assert biases_name == f"biases (damping {best:g})"
    assert mean["test"].ratings == len(asked)
