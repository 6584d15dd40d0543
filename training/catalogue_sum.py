"""A loss over every item of the catalogue, with the gradient of its scores written by hand.

A user's loss is a function of all scores less the weighted scores of the user's own items. Left
to autograd it takes a B x I tensor for every step of the formula and a second dense gradient of
the item matrix for the own items. Here one tensor holds the scores, then their derivatives, and
gives both gradients in two products: half the time at 25,000 items, 600 units and 500 users.
"""

from collections.abc import Callable
from typing import Any, Final, TypeAlias, final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from service.autoencoders.base import Autoencoder
from service.histories import HistoryBatch

# Scores that are kept from the forward to the backward pass, 128 MB; of a larger batch they are
# computed twice, some rows at a time, so that memory does not grow with batch times catalogue.
MAX_SCORES: Final = 32_000_000

# Takes scores, leaves their derivatives in their place, and gives the function of each row, [B].
Reduction: TypeAlias = Callable[[Tensor], Tensor]


def catalogue_sum(
    reduction: Reduction,
    query_BH: Tensor,
    model: Autoencoder,
    targets: HistoryBatch,
    weight_B: Tensor,
) -> Tensor:
    """Compute ``weight_B * reduction(score_BI) - sum_n w_n score_n`` over each row's targets, [B].

    Args:
        reduction: Works in place on ``query_BH @ item_vectors_IH.T + item_bias_I``.
        query_BH: The last hidden layer.
        model: Has the item matrix.
        targets: The users' own items with their weights, each item once a row.
        weight_B: Of the reduction.
    """
    matrices = (query_BH, model.item_vectors_IH, model.item_bias_I)
    loss_B: Tensor = _CatalogueSum.apply(*matrices, targets, weight_B, reduction)  # type: ignore[no-untyped-call]  # torch ships apply untyped
    return loss_B


def log_partition_(score_BI: Tensor) -> Tensor:
    """Take log sum exp of each row; its derivative is the softmax."""
    peak_B1 = score_BI.amax(dim=1, keepdim=True)
    sum_B1 = score_BI.sub_(peak_B1).exp_().sum(dim=1, keepdim=True)
    score_BI.div_(sum_B1)
    return (sum_B1.log() + peak_B1)[:, 0]


def softplus_sum_(score_BI: Tensor) -> Tensor:
    """Sum log(1 + e^s) over each row; its derivative is the logistic function."""
    sum_B = functional.softplus(score_BI).sum(dim=1)
    score_BI.sigmoid_()
    return sum_B


@final
class _CatalogueSum(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917 - torch passes what apply() is given one by one
        ctx: Any,  # noqa: ANN401 - torch's: takes whatever the backward pass needs
        query_BH: Tensor,
        vectors_IH: Tensor,
        bias_I: Tensor,
        targets: HistoryBatch,
        weight_B: Tensor,
        reduction: Reduction,
    ) -> Tensor:
        ctx.save_for_backward(query_BH, vectors_IH, bias_I, weight_B)
        ctx.targets, ctx.reduction, ctx.slope_BI = targets, reduction, None
        losses: list[Tensor] = []
        for rows in _blocks(len(query_BH), len(bias_I)):
            score_BI = torch.addmm(bias_I, query_BH[rows], vectors_IH.T)
            row_N, item_N, own_weight_N = _entries(targets, rows, query_BH.dtype)
            own_N = score_BI[row_N, item_N] * own_weight_N
            loss_B = reduction(score_BI) * weight_B[rows]
            losses.append(loss_B.index_add_(0, row_N, own_N, alpha=-1))
            if len(score_BI) == len(query_BH):
                ctx.slope_BI = score_BI
        return torch.cat(losses)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_B: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        query_BH, vectors_IH, bias_I, weight_B = ctx.saved_tensors
        grad_query_BH = torch.empty_like(query_BH)
        grad_vectors_IH, grad_bias_I = torch.zeros_like(vectors_IH), torch.zeros_like(bias_I)
        for rows in _blocks(len(query_BH), len(bias_I)):
            slope_BI, ctx.slope_BI = ctx.slope_BI, None  # used up: it is overwritten below
            if slope_BI is None:
                slope_BI = torch.addmm(bias_I, query_BH[rows], vectors_IH.T)
                ctx.reduction(slope_BI)
            slope_BI *= (grad_B[rows] * weight_B[rows])[:, None]
            row_N, item_N, own_weight_N = _entries(ctx.targets, rows, query_BH.dtype)
            slope_BI[row_N, item_N] -= own_weight_N * grad_B[rows][row_N]
            torch.mm(slope_BI, vectors_IH, out=grad_query_BH[rows])
            grad_vectors_IH.addmm_(slope_BI.T, query_BH[rows])
            grad_bias_I += slope_BI.sum(dim=0)
        return grad_query_BH, grad_vectors_IH, grad_bias_I, None, None, None


def _blocks(num_rows: int, num_items: int) -> list[slice]:
    rows = max(1, MAX_SCORES // num_items)
    return [slice(start, start + rows) for start in range(0, num_rows, rows)]


def _entries(
    targets: HistoryBatch, rows: slice, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Give the entries of some rows: row (from 0), item, weight."""
    offset_B1 = targets.offset_B1[rows.start : rows.stop + 1]
    entries = slice(int(offset_B1[0]), int(offset_B1[-1]))
    row_N = targets.row_N[entries] - rows.start
    return row_N, targets.item_index_N[entries], targets.weight_N[entries].to(dtype)
