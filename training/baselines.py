"""Rivals that every run is measured against: popularity and EASE."""

from collections.abc import Sequence
from typing import Final, final

import numpy as np
import torch
from scipy.sparse import csr_array

from service.histories import HistoryBatch
from service.retrieval.base import TopK, Wanted
from service.retrieval.ranking import rank
from training.closed_form import ClosedForm, tuned
from training.data.split import Split
from training.errors import BadInputError
from training.evaluate import Ranker, evaluate
from training.metrics import RankingMetrics

# A rival is measured after every training run: EASE only where its search takes minutes at most.
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


def measure_baselines(split: Split) -> dict[str, dict[str, RankingMetrics]]:
    """Measure popularity and EASE, EASE with the L2 that validation prefers and unpruned.

    Returns:
        ``valid`` and ``test`` metrics by the baseline's name. EASE is left out above
        ``EASE_MAX_ITEMS``, and where it does not fit into memory.
    """
    measured = {"popularity": _measured(Popularity(split.train), split)}
    if split.train.shape[1] <= EASE_MAX_ITEMS:
        try:
            regularizer = tuned(split, l2=None, dropout=0.0, hear=lambda _: None)
            ease = ClosedForm(split.train, regularizer)
        except BadInputError:  # a run does not fail for want of a rival
            return measured
        measured[f"ease (l2 {regularizer.l2:.3g})"] = _measured(ease, split)
    return measured


def _measured(ranker: Ranker, split: Split) -> dict[str, RankingMetrics]:
    return {"valid": evaluate(ranker, split.valid), "test": evaluate(ranker, split.test)}
