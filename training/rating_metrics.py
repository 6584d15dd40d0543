"""How far predicted ratings are from real ones: RMSE and MAE over held-out ratings."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Self, final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array

from service.autoencoders.base import Autoencoder
from service.autoencoders.rating_scale import RatingScale
from service.histories import HistoryBatch
from training.data.ratings import Ratings
from training.data.split import HeldOut, Split
from training.entry_scores import entry_scores

ROWS_PER_BLOCK: Final = 500


@final
@dataclass(frozen=True, slots=True)
class RatingMetrics:
    """Averages over held-out ratings; predictions are clipped to the scale.

    Attributes:
        rmse: Root of the mean squared error.
        mae: Mean absolute error.
        ratings: How many ratings the averages are over.
        strays: How many of them are of users or items without training ratings; the mean of the
            training ratings is what is predicted for them.
    """

    rmse: float
    mae: float
    ratings: int
    strays: int

    @classmethod
    def of(cls, flat: Mapping[str, float]) -> Self:
        """Read what ``to_dict`` gives."""
        ratings, strays = int(flat["ratings"]), int(flat["strays"])
        return cls(flat["rmse"], flat["mae"], ratings, strays)

    def to_dict(self) -> dict[str, float]:
        """Flatten for JSON."""
        return {"rmse": self.rmse, "mae": self.mae, "ratings": self.ratings, "strays": self.strays}


def rating_metrics(
    predicted_N: NDArray[np.floating],
    rating_N: NDArray[np.floating],
    stray_M: NDArray[np.floating],
    scale: RatingScale,
) -> RatingMetrics:
    """Compare predictions with ratings.

    Args:
        predicted_N: As the model gives them; they are clipped here.
        rating_N: What the users really gave.
        stray_M: Further ratings, of users or items that no model knows.
        scale: To clip to, with the mean that stands for what nobody can predict.
    """
    clipped_N = predicted_N.astype(np.float64).clip(scale.lowest, scale.highest)
    error_N = np.concatenate([clipped_N - rating_N, scale.mean - stray_M.astype(np.float64)])
    count = max(len(error_N), 1)  # of several processes one may have nothing to predict
    return RatingMetrics(
        rmse=float(np.sqrt(np.square(error_N).sum() / count)),
        mae=float(np.abs(error_N).sum() / count),
        ratings=len(error_N),
        strays=len(stray_M),
    )


def pooled(shards: Sequence[RatingMetrics]) -> RatingMetrics:
    """Give the metrics over the ratings of all shards, to rounding in float64."""
    if len(shards) == 1:
        return shards[0]
    ratings = sum(shard.ratings for shard in shards)
    squares = sum(shard.rmse**2 * shard.ratings for shard in shards)
    return RatingMetrics(
        rmse=math.sqrt(squares / max(ratings, 1)),
        mae=sum(shard.mae * shard.ratings for shard in shards) / max(ratings, 1),
        ratings=ratings,
        strays=sum(shard.strays for shard in shards),
    )


@torch.no_grad()
def predictions(model: Autoencoder, held_out: HeldOut) -> NDArray[np.float64]:
    """Predict the held-out ratings, in the order of ``held_out.target``, not clipped.

    Without gradients, but not in inference mode: the products of single entries are derivatives.
    """
    device = model.item_bias_I.device
    parts = [np.empty(0)]
    for start in range(0, len(held_out.user_ids), ROWS_PER_BLOCK):
        chosen = slice(start, start + ROWS_PER_BLOCK)
        user_index_B = held_out.user_index_U[chosen]
        histories, targets = (
            HistoryBatch.from_csr(rows.indptr, rows.indices, rows.data, user_index_B).to(device)
            for rows in (held_out.history[chosen], held_out.target[chosen])
        )
        query_BH = model.queries(model.encode(histories))
        parts.append(entry_scores(query_BH, model, targets).double().cpu().numpy())
    return np.concatenate(parts)


def evaluate_ratings(
    model: Autoencoder, held_out: HeldOut, stray_M: NDArray[np.floating]
) -> RatingMetrics:
    """Predict held-out ratings and compare; see ``rating_metrics``."""
    predicted_N = predictions(model, held_out)
    return rating_metrics(predicted_N, held_out.target.data, stray_M, model.config.scale)


def measure_ratings(model: Autoencoder, split: Split, ratings: Ratings) -> dict[str, RatingMetrics]:
    """Measure a model of ratings on both parts that are held out; see ``measure_part``."""
    return {
        **measure_part(model, "valid", split.valid, ratings),
        **measure_part(model, "test", split.test, ratings),
    }


def measure_part(
    model: Autoencoder, name: str, held_out: HeldOut, ratings: Ratings
) -> dict[str, RatingMetrics]:
    """Measure a model of ratings on one part that is held out.

    Returns:
        The figures under the part's name. A model with rows for users answers these with the
        rows, as its paper does, and again with the users' histories folded in, as the service
        does: under the name and ``_folded_in``. The histories of test hold the validation ratings,
        which no row has seen.
    """
    stray_M = ratings.strays[name]
    folded_in = evaluate_ratings(model, held_out, stray_M)
    if not model.num_users:
        return {name: folded_in}
    no_rating_N, no_item_N = np.empty(0, dtype=np.float32), np.empty(0, dtype=np.int64)
    offset_U1 = np.zeros(len(held_out.user_ids) + 1, dtype=np.int64)
    nothing = csr_array((no_rating_N, no_item_N, offset_U1), shape=held_out.history.shape)
    by_rows = evaluate_ratings(model, replace(held_out, history=nothing), stray_M)
    return {name: by_rows, f"{name}_folded_in": folded_in}
