"""Measure a model on held-out users, through the retrieval that production uses."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Final, Protocol, final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

from service.autoencoders.base import Autoencoder
from service.checkpoint import Checkpoint
from service.histories import UNKNOWN_USER, HistoryBatch
from service.retrieval.base import TopK, Wanted
from service.retrieval.ranking import rank
from training.data.split import HeldOut
from training.metrics import LIST_LENGTH, RankingMetrics, ranking_metrics

USERS_PER_BLOCK: Final = 500
# Scores of a block, 128 MB in float32: fewer users at a time where there are many items.
SCORES_PER_BLOCK: Final = 32_000_000
# Entries of a history: few, some, many, very many.
LENGTH_BANDS: Final = (0, 10, 50, 200, 2**31)


class Ranker(Protocol):
    """Anything that ranks the catalogue for a batch of histories."""

    def top_k(self, histories: HistoryBatch, wanted: Sequence[Wanted]) -> list[TopK]:
        """Give one list per history; hidden items never come back."""


@final
class PlainRetriever:
    """One float32 product, for the validation of every epoch.

    It may rank near ties other than ``ExactRetriever`` does, which scores again in float64 and
    takes several times as long: fine for choosing an epoch, not for a figure that is told.
    """

    name = "plain"

    def __init__(self, model: Autoencoder) -> None:
        self._model = model

    def top_k(
        self, query_BH: Tensor, wanted: Sequence[Wanted], histories: HistoryBatch | None = None
    ) -> list[TopK]:
        """Give one list per query; hidden items never come back."""
        del histories  # what trains by gradients has no linear part
        model = self._model
        return rank(torch.addmm(model.item_bias_I, query_BH, model.item_vectors_IH.T), wanted)


def evaluate(ranker: Ranker, held_out: HeldOut) -> RankingMetrics:
    """Rank the whole catalogue for every held-out user, history hidden, and compare."""
    return ranking_metrics(ranked_lists(ranker, held_out), rows_of(held_out.target))


def evaluate_by_history_length(ranker: Ranker, held_out: HeldOut) -> dict[str, RankingMetrics]:
    """Measure as ``evaluate`` does, and again within each band of history lengths."""
    return metrics_by_history_length(ranked_lists(ranker, held_out), held_out)


def metrics_by_history_length(
    lists: Sequence[NDArray[np.int64]], held_out: HeldOut
) -> dict[str, RankingMetrics]:
    """Measure the lists of held-out users, of all and within each band of history lengths."""
    targets = rows_of(held_out.target)
    length_U = np.diff(held_out.history.indptr)
    measured = {"all": ranking_metrics(lists, targets)}
    for low, high in itertools.pairwise(LENGTH_BANDS):
        inside = np.flatnonzero((length_U >= low) & (length_U < high)).tolist()
        name = f"history {low}-{high - 1}" if high < LENGTH_BANDS[-1] else f"history {low}+"
        band = ranking_metrics([lists[u] for u in inside], [targets[u] for u in inside])
        if band.users:
            measured[name] = band
    return measured


def ranked_lists(ranker: Ranker, held_out: HeldOut) -> list[NDArray[np.int64]]:
    """Rank the catalogue for every held-out user, block by block; histories are hidden."""
    return [
        top.item_index_K
        for histories, wanted in blocks(held_out)
        for top in ranker.top_k(histories, wanted)
    ]


def blocks(held_out: HeldOut) -> Iterator[tuple[HistoryBatch, list[Wanted]]]:
    """Give the held-out users block by block: their histories, and lists that hide these."""
    size = min(USERS_PER_BLOCK, max(1, SCORES_PER_BLOCK // held_out.history.shape[1]))
    for start in range(0, len(held_out.user_ids), size):
        stop = start + size
        history = held_out.history[start:stop]
        histories = HistoryBatch.from_csr(
            history.indptr, history.indices, history.data, held_out.user_index_U[start:stop]
        )
        yield histories, [Wanted(LIST_LENGTH, seen_N) for seen_N in rows_of(history)]


def aligned(held_out: HeldOut, item_ids: Sequence[str], loaded: Checkpoint) -> HeldOut:
    """Express held-out users in the item and user indices of a bundle.

    Items that the bundle lacks are dropped, as they are at serving.
    """
    column_of_I = np.array([loaded.catalog.index_of.get(item_id, -1) for item_id in item_ids])
    row_of = {user_id: row for row, user_id in enumerate(loaded.user_ids)}
    return HeldOut(
        history=_with_columns(held_out.history, column_of_I, len(loaded.catalog)),
        target=_with_columns(held_out.target, column_of_I, len(loaded.catalog)),
        user_ids=held_out.user_ids,
        user_index_U=np.array(
            [row_of.get(user_id, UNKNOWN_USER) for user_id in held_out.user_ids], dtype=np.int64
        ),
    )


def part_of(held_out: HeldOut, users: slice) -> HeldOut:
    """Give some of the held-out users: all between two of them, or every so many."""
    return HeldOut(
        history=held_out.history[users],
        target=held_out.target[users],
        user_ids=held_out.user_ids[users],
        user_index_U=held_out.user_index_U[users],
    )


def rows_of(matrix: csr_array) -> list[NDArray[np.int64]]:
    """Split the item indices of a CSR matrix into its rows."""
    rows = np.split(matrix.indices.astype(np.int64), matrix.indptr[1:-1])
    return rows[: matrix.shape[0]]  # numpy splits nothing into one part, not into none


def csr_of(histories: HistoryBatch, num_items: int) -> csr_array:
    """Give histories as a matrix of their weights, float32 [B, I]."""
    entries = (
        histories.weight_N.numpy(),
        histories.item_index_N.numpy(),
        histories.offset_B1.numpy(),
    )
    return csr_array(entries, shape=(len(histories), num_items))


def _with_columns(matrix: csr_array, column_of_I: NDArray[np.int64], num_items: int) -> csr_array:
    entries = matrix.tocoo()
    column_N = column_of_I[entries.col]
    known_N = column_N >= 0
    shape = (matrix.shape[0], num_items)
    moved = csr_array(
        (entries.data[known_N], (entries.row[known_N], column_N[known_N])), shape=shape
    )
    moved.sort_indices()
    return moved
