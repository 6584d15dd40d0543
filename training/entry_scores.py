"""Scores of a user's own entries, one by one, without gathering a vector for each entry."""

from typing import final

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional

from service.autoencoders.base import Autoencoder
from service.histories import HistoryBatch


def bag(
    index_N: Tensor, table_KH: Tensor, offset_B1: Tensor, weight_N: Tensor | None = None
) -> Tensor:
    """Sum rows of a table, weighted, those of each bag: [B, H]."""
    return functional.embedding_bag(
        index_N,
        table_KH,
        offset_B1,
        mode="sum",
        per_sample_weights=weight_N,
        include_last_offset=True,
    )


def entry_scores(query_BH: Tensor, model: Autoencoder, targets: HistoryBatch) -> Tensor:
    """Score each entry for its user, q . v_n + b_n, [N]; for what is not linear in the scores.

    Forwards and backwards are bags: N numbers are kept, never N x H of them, and at H = 200 it
    takes a tenth of the time of a gather.
    """
    dot_N: Tensor = _Dots.apply(query_BH, model.item_vectors_IH, targets)  # type: ignore[no-untyped-call]  # torch ships apply untyped
    return dot_N + model.item_bias_I[targets.item_index_N]


class _Context(FunctionCtx):
    """What the forward pass leaves for the backward pass."""

    saved_tensors: tuple[Tensor, ...]
    targets: HistoryBatch


@final
class _Dots(torch.autograd.Function):
    """The dot product of each entry's item with its user's query."""

    @staticmethod
    def forward(
        ctx: _Context, query_BH: Tensor, vectors_IH: Tensor, targets: HistoryBatch
    ) -> Tensor:
        ctx.save_for_backward(query_BH, vectors_IH)
        ctx.targets = targets
        # A bag is sum_n w_n v_n: the derivative of q . bag by w_n is the product q . v_n.
        with torch.enable_grad():
            weight_N = query_BH.new_zeros(len(targets.item_index_N), requires_grad=True)
            table_IH = vectors_IH.detach()
            bag_BH = bag(targets.item_index_N, table_IH, targets.offset_B1, weight_N)
            (dot_N,) = torch.autograd.grad(bag_BH, weight_N, query_BH.detach())
        return dot_N

    @staticmethod
    @once_differentiable
    def backward(ctx: _Context, grad_N: Tensor) -> tuple[Tensor, Tensor, None]:
        query_BH, vectors_IH = ctx.saved_tensors
        targets = ctx.targets
        grad_BH = bag(targets.item_index_N, vectors_IH, targets.offset_B1, grad_N)
        # For the items the same entries, item after item.
        item_N, order_N = targets.item_index_N.sort(stable=True)
        starts_I1 = torch.arange(len(vectors_IH) + 1, device=item_N.device)
        offset_I1 = torch.searchsorted(item_N, starts_I1)
        grad_IH = bag(targets.row_N[order_N], query_BH, offset_I1, grad_N[order_N])
        return grad_BH, grad_IH, None
