"""Rank score rows: hide, pick the best, order equal scores by item index."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.device import to_device, to_host
from service.retrieval.base import TopK, Wanted

Items: TypeAlias = NDArray[np.int64]
Scores: TypeAlias = NDArray[np.floating]


def rank(score_BI: Tensor, wanted: Sequence[Wanted]) -> list[TopK]:
    """Rank the items of each row by score; ties go to the smaller item index.

    Args:
        score_BI: Finite scores; hidden items are overwritten with -inf in place, before the
            pick (after it, the list would come out shorter than k).
        wanted: One per row.

    Returns:
        One list per row, ``min(k, I - hidden)`` long.
    """
    num_hidden_B = hide(score_BI, wanted)
    num_items = score_BI.shape[1]
    item_BK, score_BK = ordered_top_k(score_BI, min(max(want.k for want in wanted), num_items))
    return as_lists(item_BK, score_BK, wanted, num_items - num_hidden_B)


def hide(score_BI: Tensor, wanted: Sequence[Wanted]) -> NDArray[np.int64]:
    """Overwrite the scores of hidden items with -inf; count the hidden items of each row."""
    cell_N, num_hidden_B = hidden_cells(wanted, score_BI.shape[1])
    score_BI.view(-1)[to_device(torch.from_numpy(cell_N), score_BI.device)] = -torch.inf
    for score_I, want in zip(score_BI, wanted, strict=True):
        if want.shown_I is not None:
            hidden_I = to_device(torch.from_numpy(~want.shown_I), score_BI.device)
            score_I.masked_fill_(hidden_I, -torch.inf)
    return num_hidden_B


def hidden_cells(
    wanted: Sequence[Wanted], num_items: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number the hidden cells of a B x I matrix, each once, and count those of each row.

    Cells that a filter hides are counted and not numbered: they may be nearly all.
    """
    length_B = [len(want.hidden_item_index) for want in wanted]
    row_N = np.repeat(np.arange(len(wanted)), length_B)
    item_N = np.concatenate([want.hidden_item_index for want in wanted]).astype(np.int64)
    cell_N = row_N * num_items + item_N
    if not bool((np.diff(cell_N) > 0).all()):  # as a rule each row comes sorted and unique
        cell_N = np.unique(cell_N)
    num_hidden_B = np.bincount(cell_N // num_items, minlength=len(wanted))
    for row, want in enumerate(wanted):
        if want.shown_I is not None:
            first, end = np.searchsorted(cell_N, [row * num_items, (row + 1) * num_items])
            hidden_too = np.count_nonzero(want.shown_I[cell_N[first:end] - row * num_items])
            num_hidden_B[row] = num_items - np.count_nonzero(want.shown_I) + hidden_too
    return cell_N, num_hidden_B


def ordered_top_k(score_BI: Tensor, k: int) -> tuple[Items, Scores]:
    """Take the k best of each row, equal scores in the order of their index: items and scores.

    ``torch.topk`` breaks ties as it likes. One item more than asked shows whether a tie runs
    across the cut; only such rows pay for a full stable sort.
    """
    num_items = score_BI.shape[1]
    found = to_host(*score_BI.topk(min(k + 1, num_items), dim=1))
    item_BK, score_BK = ordered(found[1].numpy(), found[0].numpy())
    if k < num_items:
        # -inf ties are hidden items: the caller cuts them off, their order is nobody's concern.
        tied_B = (score_BK[:, k] == score_BK[:, k - 1]) & np.isfinite(score_BK[:, k])
        for row in np.flatnonzero(tied_B):
            score_I, item_I = to_host(*score_BI[row].sort(descending=True, stable=True))
            score_BK[row], item_BK[row] = score_I[: k + 1].numpy(), item_I[: k + 1].numpy()
    return item_BK[:, :k], score_BK[:, :k]


def ordered(item_BK: Items, score_BK: Scores) -> tuple[Items, Scores]:
    """Sort the items of each row by score, best first, equal scores by index: items and scores.

    In NumPy: so few numbers are sorted in less time than a thread waits for the interpreter after
    a call that lets go of it.
    """
    order_BK = np.lexsort((item_BK, -score_BK), axis=1)
    return np.take_along_axis(item_BK, order_BK, 1), np.take_along_axis(score_BK, order_BK, 1)


def as_lists(
    item_BK: Items,
    score_BK: Scores,
    wanted: Sequence[Wanted],
    num_eligible_B: NDArray[np.int64],
) -> list[TopK]:
    """Cut each row to what it asked for, and to what may be shown."""
    score_BK = score_BK.astype(np.float32, copy=False)
    lists: list[TopK] = []
    for row, (want, num_eligible) in enumerate(zip(wanted, num_eligible_B.tolist(), strict=True)):
        length = min(want.k, num_eligible)
        lists.append(TopK(item_BK[row, :length].copy(), score_BK[row, :length].copy()))
    return lists
