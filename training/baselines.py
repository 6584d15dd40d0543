"""Rivals that every run is measured against: popularity and EASE."""

from collections.abc import Sequence
from typing import Final, final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import linalg
from scipy.sparse import csr_array

from service.histories import HistoryBatch
from service.retrieval.base import TopK, Wanted
from service.retrieval.ranking import rank
from training.data.split import Split
from training.evaluate import evaluate
from training.metrics import RankingMetrics

EASE_L2_GRID: Final = (100.0, 200.0, 400.0, 800.0, 1600.0)
# EASE holds two dense I x I float64 matrices: 3.6 GB at this size.
EASE_MAX_ITEMS: Final = 15_000


@final
class Popularity:
    """The same list for everybody: items by the number of training users that have them."""

    def __init__(self, train: csr_array) -> None:
        counts_I = np.bincount(train.indices, minlength=train.shape[1])
        self._score_I = torch.from_numpy(counts_I.astype(np.float64))

    def top_k(self, histories: HistoryBatch, wanted: Sequence[Wanted]) -> list[TopK]:
        """Give one list per history; hidden items never come back."""
        return rank(self._score_I.repeat(len(histories), 1), wanted)


@final
class Ease:
    """EASE, a linear autoencoder in closed form: B = I - P / diag(P), P = (X'X + l2 I)^-1.

    Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019 (arXiv:1905.03375).
    """

    def __init__(self, train: csr_array, l2: float) -> None:
        weights_II = _precision(train.astype(np.float64), l2)
        weights_II /= -np.diag(weights_II)
        np.fill_diagonal(weights_II, 0)
        self._weights_II = weights_II

    def top_k(self, histories: HistoryBatch, wanted: Sequence[Wanted]) -> list[TopK]:
        """Give one list per history; hidden items never come back."""
        history = csr_array(
            (
                histories.weight_N.numpy().astype(np.float64),
                histories.item_index_N.numpy(),
                histories.offset_B1.numpy(),
            ),
            shape=(len(histories), len(self._weights_II)),
        )
        return rank(torch.from_numpy(history @ self._weights_II), wanted)


def measure_baselines(split: Split) -> dict[str, dict[str, RankingMetrics]]:
    """Measure popularity and EASE, EASE with the L2 that validation prefers.

    Returns:
        ``valid`` and ``test`` metrics by the baseline's name. EASE is left out above
        ``EASE_MAX_ITEMS``.
    """
    popularity = Popularity(split.train)
    measured = {
        "popularity": {
            "valid": evaluate(popularity, split.valid),
            "test": evaluate(popularity, split.test),
        }
    }
    if split.train.shape[1] <= EASE_MAX_ITEMS:
        name, metrics = _best_ease(split)
        measured[name] = metrics
    return measured


def _best_ease(split: Split) -> tuple[str, dict[str, RankingMetrics]]:
    trials: list[tuple[str, dict[str, RankingMetrics]]] = []
    for l2 in EASE_L2_GRID:
        ease = Ease(split.train, l2)
        metrics = {"valid": evaluate(ease, split.valid), "test": evaluate(ease, split.test)}
        trials.append((f"ease (l2 {l2:g})", metrics))
    return max(trials, key=lambda trial: trial[1]["valid"].ndcg_at_100)


def _precision(train: csr_array, l2: float) -> NDArray[np.float64]:
    """Compute (X'X + l2 I)^-1, [I, I]."""
    num_users, num_items = train.shape
    if num_users >= num_items:
        return _ridge_inverse(train.T @ train, l2)
    # Woodbury: (I - X' (X X' + l2 I)^-1 X) / l2. At 529 users and 5,653 items 40 times faster.
    kernel_UU = _ridge_inverse(train @ train.T, l2)
    precision_II: NDArray[np.float64] = train.T @ (kernel_UU @ train)
    precision_II /= -l2
    _diagonal(precision_II)[:] += 1 / l2
    return precision_II


def _ridge_inverse(gram: csr_array, l2: float) -> NDArray[np.float64]:
    """Invert gram + l2 I by Cholesky: half the work and twice the digits of a general inverse."""
    regular = gram.toarray()
    _diagonal(regular)[:] += l2
    factor = linalg.cholesky(regular, lower=True, overwrite_a=True, check_finite=False)
    lower, info = linalg.lapack.dpotri(factor, lower=True, overwrite_c=True)
    if info:
        raise linalg.LinAlgError(f"dpotri: {info}")
    inverse: NDArray[np.float64] = np.tril(lower) + np.tril(lower, -1).T
    return inverse


def _diagonal(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """View the diagonal of a matrix, to be written to."""
    view: NDArray[np.float64] = np.einsum("ii->i", matrix)
    return view
