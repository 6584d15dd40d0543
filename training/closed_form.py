"""EASE and EDLAE before pruning: the closed form as a ranker, tuned on validation users."""

from collections.abc import Callable, Sequence
from typing import Final, final

import numpy as np
import torch
from scipy.sparse import csr_array

from service.histories import HistoryBatch
from service.retrieval.base import TopK, Wanted
from service.retrieval.ranking import rank
from training.data.split import HeldOut, Split
from training.evaluate import Ranker, csr_of, evaluate, ranked_lists, rows_of
from training.metrics import LIST_LENGTH, ndcg
from training.precision import Dense, precision
from training.regularizer import Regularizer, affordable_trials, choose

# Validation users that choose: the standard error of NDCG@100 over so many is about .004, and
# regularisers are compared on the same ones.
CHOOSING_USERS: Final = 2_000


@final
class ClosedForm:
    """``score = history @ B``, ``B = I - P / diag(P)``, with every weight of B; a ranker."""

    def __init__(self, train: csr_array, regularizer: Regularizer) -> None:
        self.precision = precision(train, regularizer.diagonal_I(train))

    def top_k(self, histories: HistoryBatch, wanted: Sequence[Wanted]) -> list[TopK]:
        """Give one list per history; hidden items never come back."""
        history = csr_of(histories, len(self.precision.diagonal_I)).astype(np.float64)
        product = self.precision.times(history)
        product /= self.precision.diagonal_I
        score_BI = history.toarray()
        score_BI -= product
        return rank(torch.from_numpy(score_BI), wanted)


def tuned(
    split: Split, l2: float | None, dropout: float | None, hear: Callable[[float], None]
) -> Regularizer:
    """Choose what of a regulariser is not given by NDCG@100 on validation users.

    Args:
        split: Trained on, and validated with.
        l2: None leaves it free.
        dropout: None leaves it free; 0 is EASE.
        hear: Told before every trial which share of all trials it is at most.

    Raises:
        BadInputError: The closed form does not fit into memory.
    """
    valid = some_of(split.valid)
    trials = affordable_trials(*split.train.shape)

    def worth(regularizer: Regularizer) -> float:
        hear(1 / trials)
        return evaluate(ClosedForm(split.train, regularizer), valid).ndcg_at_100

    start = Regularizer.guess(split.train, l2, dropout)
    return choose(worth, start, trials, l2_is_free=l2 is None, dropout_is_free=dropout is None)


def ndcg_by_user(ranker: Ranker, held_out: HeldOut) -> Dense:
    """Give NDCG@100 of each held-out user who has a target."""
    targets = rows_of(held_out.target)
    lists = ranked_lists(ranker, held_out)
    hits_UK = np.zeros((len(lists), LIST_LENGTH), dtype=bool)
    for row, (found, wanted) in enumerate(zip(lists, targets, strict=True)):
        hits_UK[row, : len(found)] = np.isin(found, wanted)
    num_targets_U = np.array([len(wanted) for wanted in targets], dtype=np.int64)
    some_U = num_targets_U > 0
    return ndcg(hits_UK[some_U], num_targets_U[some_U], LIST_LENGTH)


def some_of(held_out: HeldOut) -> HeldOut:
    """Take at most ``CHOOSING_USERS`` users, evenly spaced."""
    num_users = len(held_out.user_ids)
    if num_users <= CHOOSING_USERS:
        return held_out
    rows = np.linspace(0, num_users - 1, CHOOSING_USERS).astype(int)
    return HeldOut(
        history=held_out.history[rows],
        target=held_out.target[rows],
        user_ids=tuple(held_out.user_ids[row] for row in rows),
        user_index_U=held_out.user_index_U[rows],
    )
