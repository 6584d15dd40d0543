"""Item-kNN: items like those of the history, by cosine similarity; a rival that needs no training.

``s_ij = c_ij / (n_i^a n_j^(1 - a) + shrinkage)`` of the co-occurrences c = X'X and the squared
norms n of the items i of the history and j to be found. An exponent a above a half tames popular
history items (Deshpande and Karypis 2004, after whom each j keeps its k most similar items only).
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, final

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csc_array, csr_array

from service.histories import HistoryBatch
from service.retrieval.base import TopK, Wanted
from service.retrieval.ranking import ordered_top_k, rank
from training.closed_form import some_of
from training.data.split import Split
from training.evaluate import csr_of, evaluate

# On ml-1m: .352 of validation NDCG@100 by plain cosine, .366 with exponent .7 and shrinkage 10.
EXPONENTS: Final = (0.5, 0.7)
SHRINKAGES: Final = (0.0, 10.0, 50.0)
NEIGHBOURS: Final = (10, 20, 50, 100, 200, 400)
# Columns of X'X in one piece, dense: 80 MB at 40,000 items, and a few times that on the way.
BLOCK: Final = 256
# Orders items that have nothing in common with a history; similarities are thousandths and more.
BIAS_OF_THE_MOST_POPULAR: Final = 1e-9


@final
@dataclass(frozen=True, slots=True)
class NeighboursConfig:
    """Settings of item-kNN; validation users choose what is None."""

    neighbours: Annotated[int, Field(ge=1)] | None = None
    exponent: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    shrinkage: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None


@final
class ItemNeighbours:
    """``score = history @ S`` with the similarities that each column keeps; a ranker."""

    def __init__(self, similarity_II: csr_array, bias_I: NDArray[np.float64]) -> None:
        self.similarity_II = similarity_II
        self._bias_I = bias_I

    def top_k(self, histories: HistoryBatch, wanted: Sequence[Wanted]) -> list[TopK]:
        """Give one list per history; hidden items never come back."""
        history = csr_of(histories, len(self._bias_I)).astype(np.float64)
        score_BI = (history @ self.similarity_II).toarray() + self._bias_I
        return rank(torch.from_numpy(score_BI), wanted)


@final
@dataclass(frozen=True, slots=True)
class _Nearest:
    """For every item the items most similar to it, the most similar first."""

    item_IK: NDArray[np.int64]
    similarity_IK: NDArray[np.float64]

    def ranker(self, count: int, bias_I: NDArray[np.float64]) -> ItemNeighbours:
        """Keep so many a column."""
        num_items = len(bias_I)
        item_N = self.item_IK[:, :count].ravel()
        similarity_N = self.similarity_IK[:, :count].ravel()
        column_N = np.repeat(np.arange(num_items), self.item_IK[:, :count].shape[1])
        kept_N = similarity_N > 0
        entries = (similarity_N[kept_N], (item_N[kept_N], column_N[kept_N]))
        return ItemNeighbours(csr_array(entries, shape=(num_items, num_items)), bias_I)


def fit_neighbours(
    split: Split, config: NeighboursConfig, hear: Callable[[float], None]
) -> tuple[ItemNeighbours, NeighboursConfig]:
    """Find the neighbours of every item, as many and by such a measure as validation likes best.

    Args:
        split: Trained on; its validation users choose what ``config`` leaves open.
        config: What is given.
        hear: Told before every measure of similarity which share of all measures it is.
    """
    train = split.train
    count_I = np.bincount(train.indices, minlength=train.shape[1])
    bias_I = BIAS_OF_THE_MOST_POPULAR * count_I / count_I.max()
    valid = some_of(split.valid)
    measures = list(
        itertools.product(
            EXPONENTS if config.exponent is None else (config.exponent,),
            SHRINKAGES if config.shrinkage is None else (config.shrinkage,),
        )
    )
    counts = NEIGHBOURS if config.neighbours is None else (config.neighbours,)
    tried: list[tuple[float, ItemNeighbours, NeighboursConfig]] = []
    for exponent, shrinkage in measures:
        hear(1 / len(measures))
        nearest = _nearest(train, exponent, shrinkage, max(counts))
        for count in counts:
            ranker = nearest.ranker(count, bias_I)
            worth = evaluate(ranker, valid).ndcg_at_100
            tried.append((worth, ranker, NeighboursConfig(count, exponent, shrinkage)))
        tried = [max(tried, key=lambda trial: trial[0])]
    _, ranker, chosen = tried[0]
    return ranker, chosen


def _nearest(train: csr_array, exponent: float, shrinkage: float, count: int) -> _Nearest:
    norm_I = np.asarray(train.power(2).sum(axis=0), dtype=np.float64).ravel()
    # Equal similarities in the order of their items, as everywhere; nothing in common is no tie.
    found = [
        ordered_top_k(torch.from_numpy(block), min(count, train.shape[1]))
        for block in _similarities(train.astype(np.float64), norm_I, exponent, shrinkage)
    ]
    return _Nearest(
        np.concatenate([item_BK for item_BK, _ in found]),
        np.concatenate([similarity_BK for _, similarity_BK in found]),
    )


def _similarities(
    train: csr_array, norm_I: NDArray[np.float64], exponent: float, shrinkage: float
) -> Iterator[NDArray[np.float64]]:
    """Give S' block by block: row j, column i; -inf for nothing in common, and for i = j."""
    by_column = csc_array(train)
    for start in range(0, train.shape[1], BLOCK):
        stop = min(start + BLOCK, train.shape[1])
        together = (by_column[:, start:stop].T @ train).toarray()
        own_I1 = norm_I[start:stop, None] ** (1 - exponent)
        similarity = together / (norm_I**exponent * own_I1 + shrinkage)
        similarity[together <= 0] = -np.inf
        similarity[np.arange(stop - start), np.arange(start, stop)] = -np.inf
        yield similarity
