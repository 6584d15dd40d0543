"""Rivals that predict ratings without a network: the mean, and biases of users and items."""

from dataclasses import dataclass
from typing import Final, Self, final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array

from training.data.ratings import Ratings
from training.data.split import HeldOut, Split
from training.rating_metrics import RatingMetrics, rating_metrics

# Ratings of zero deviation that each bias is damped by; validation picks one.
DAMPINGS: Final = (1.0, 2.0, 5.0, 10.0, 20.0)
# Users' and items' biases are refined in turn; after ten turns RMSE moves by less than 1e-5.
TURNS: Final = 10


@final
@dataclass(frozen=True, slots=True)
class Biases:
    """``rating = mean + bias_user + bias_item``, each bias the damped mean of what is left."""

    mean: float
    user_bias_U: NDArray[np.float64]
    item_bias_I: NDArray[np.float64]

    @classmethod
    def none(cls, train: csr_array, mean: float) -> Self:
        """Predict the mean, whoever asks."""
        return cls(mean, np.zeros(train.shape[0]), np.zeros(train.shape[1]))

    @classmethod
    def fitted(cls, train: csr_array, mean: float, damping: float) -> Self:
        """Fit to training ratings [U, I], users and items in turn."""
        entries = train.tocoo()
        rating_N = entries.data.astype(np.float64) - mean
        user_bias_U, item_bias_I = np.zeros(train.shape[0]), np.zeros(train.shape[1])
        for _ in range(TURNS):
            item_bias_I = _damped_means(
                entries.col, rating_N - user_bias_U[entries.row], len(item_bias_I), damping
            )
            user_bias_U = _damped_means(
                entries.row, rating_N - item_bias_I[entries.col], len(user_bias_U), damping
            )
        return cls(mean, user_bias_U, item_bias_I)

    def predictions(self, held_out: HeldOut) -> NDArray[np.float64]:
        """Predict the held-out ratings, in the order of ``held_out.target``."""
        entries: coo_array = held_out.target.tocoo()
        user_N = held_out.user_index_U[entries.row]
        return self.mean + self.user_bias_U[user_N] + self.item_bias_I[entries.col]


def measure_rating_baselines(split: Split, ratings: Ratings) -> dict[str, dict[str, RatingMetrics]]:
    """Measure the mean, and biases with the damping that validation prefers.

    Returns:
        ``valid`` and ``test`` metrics by the baseline's name.
    """
    mean = ratings.scale.mean
    by_damping = {
        f"biases (damping {damping:g})": _measured(
            Biases.fitted(split.train, mean, damping), split, ratings
        )
        for damping in DAMPINGS
    }
    best = min(by_damping, key=lambda name: by_damping[name]["valid"].rmse)
    return {
        "mean": _measured(Biases.none(split.train, mean), split, ratings),
        best: by_damping[best],
    }


def _measured(biases: Biases, split: Split, ratings: Ratings) -> dict[str, RatingMetrics]:
    return {
        name: rating_metrics(
            biases.predictions(held_out), held_out.target.data, ratings.strays[name], ratings.scale
        )
        for name, held_out in (("valid", split.valid), ("test", split.test))
    }


def _damped_means(
    index_N: NDArray[np.integer], value_N: NDArray[np.float64], size: int, damping: float
) -> NDArray[np.float64]:
    sum_K = np.bincount(index_N, value_N, minlength=size)
    mean_K: NDArray[np.float64] = sum_K / (np.bincount(index_N, minlength=size) + damping)
    return mean_K
