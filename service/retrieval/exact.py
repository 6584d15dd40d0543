"""Exact retrieval on torch, any device: score every item, hide, rank."""

from collections.abc import Sequence
from typing import final

import numpy as np
import torch
from torch import Tensor

from service.retrieval.base import TopK, Wanted


@final
class ExactRetriever:
    """Scores the whole catalogue for a batch: one product, then the K best of each row."""

    name = "exact"

    def __init__(self, item_vectors_IH: Tensor, item_bias_I: Tensor) -> None:
        self._item_vectors_IH = item_vectors_IH.detach()
        self._item_bias_I = item_bias_I.detach()

    def top_k(self, query_BH: Tensor, wanted: Sequence[Wanted]) -> list[TopK]:
        """Pick ``min(k, eligible)`` items for each of B rows; hidden items never come back."""
        score_BI = torch.addmm(self._item_bias_I, query_BH, self._item_vectors_IH.T)
        return rank(score_BI, wanted)


def rank(score_BI: Tensor, wanted: Sequence[Wanted]) -> list[TopK]:
    """Rank the items of each row by score; ties go to the smaller item index.

    Args:
        score_BI: Finite scores; hidden items are overwritten with -inf in place, before the
            pick (after it, the list would come out shorter than k).
        wanted: One per row.

    Returns:
        One list per row, ``min(k, I - hidden)`` long.
    """
    num_items = score_BI.shape[1]
    hidden_rows = [np.unique(want.hidden_item_index) for want in wanted]
    _hide(score_BI, hidden_rows)
    k = min(max(want.k for want in wanted), num_items)
    item_BK, score_BK = (picked.cpu().numpy() for picked in _ordered_top_k(score_BI, k))
    lists: list[TopK] = []
    for row, (want, hidden) in enumerate(zip(wanted, hidden_rows, strict=True)):
        length = min(want.k, num_items - len(hidden))
        lists.append(TopK(item_BK[row, :length].copy(), score_BK[row, :length].copy()))
    return lists


def _hide(score_BI: Tensor, hidden_rows: Sequence[np.ndarray]) -> None:
    row_N = np.repeat(np.arange(len(hidden_rows)), [len(hidden) for hidden in hidden_rows])
    item_N = np.concatenate(hidden_rows).astype(np.int64)
    row_item_2N = torch.from_numpy(np.stack([row_N, item_N])).to(score_BI.device)
    score_BI[row_item_2N[0], row_item_2N[1]] = -torch.inf


def _ordered_top_k(score_BI: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Take the k best of each row, equal scores in the order of their index.

    ``torch.topk`` breaks ties as it likes. One item more than asked shows whether a tie runs
    across the cut; only such rows pay for a full stable sort.
    """
    num_items = score_BI.shape[1]
    score_BK, item_BK = score_BI.topk(min(k + 1, num_items), dim=1)
    item_BK, by_index = item_BK.sort(dim=1)
    score_BK, by_score = score_BK.gather(1, by_index).sort(dim=1, descending=True, stable=True)
    item_BK = item_BK.gather(1, by_score)
    if k < num_items:
        # -inf ties are hidden items: the caller cuts them off, their order is nobody's concern.
        tied_B = (score_BK[:, k] == score_BK[:, k - 1]) & score_BK[:, k].isfinite()
        for row in tied_B.nonzero().flatten().tolist():
            score_I, item_I = score_BI[row].sort(descending=True, stable=True)
            score_BK[row], item_BK[row] = score_I[: k + 1], item_I[: k + 1]
    return item_BK[:, :k], score_BK[:, :k]
