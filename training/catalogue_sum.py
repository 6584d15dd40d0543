"""A loss over every item of the catalogue, with the gradient of its scores written by hand.

A user's loss is a function of all scores less the weighted scores of the user's own items. Left
to autograd it takes a B x I tensor for every step of the formula and a second dense gradient of
the item matrix for the own items. Here one tensor holds the scores, then their derivatives, and
gives both gradients in two products: half the time at 25,000 items, 600 units and 500 users.

Where even one such tensor is too much, the catalogue is cut into blocks of items: a block's scores
are made for its part of the function, forgotten, and made again for the gradients. What stays of a
block between the two passes is one number a user.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Self, final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from service.autoencoders.base import Autoencoder
from service.histories import HistoryBatch

# Scores that are there at a time, 128 MB, and kept from the forward to the backward pass if they
# are all. Of a larger product they are computed twice, some items at a time: blocks of items and
# not of users, so that the item matrix is read, and its gradient written, once a pass.
MAX_SCORES: Final = 32_000_000
SOFTPLUS_PARTS: Final = 8


@final
@dataclass(frozen=True, slots=True)
class Reduction:
    """A function of all scores of a user, computed block by block.

    Attributes:
        within: Takes the scores of a block, [B, C], leaves their derivatives in their place, and
            gives the function of each row, [B].
        across: Takes the values of all blocks, [B, K]; gives the function of all scores, [B], and
            what the derivatives of each block are to be multiplied by, [B, K].
    """

    within: Callable[[Tensor], Tensor]
    across: Callable[[Tensor], tuple[Tensor, Tensor]]


def catalogue_sum(
    reduction: Reduction,
    query_BH: Tensor,
    model: Autoencoder,
    targets: HistoryBatch,
    weight_B: Tensor,
) -> Tensor:
    """Compute ``weight_B * reduction(score_BI) - sum_n w_n score_n`` over each row's targets, [B].

    Args:
        reduction: Of ``query_BH @ item_vectors_IH.T + item_bias_I``.
        query_BH: The last hidden layer.
        model: Has the item matrix.
        targets: The users' own items with their weights, each item once a row.
        weight_B: Of the reduction.
    """
    matrices = (query_BH, model.item_vectors_IH, model.item_bias_I)
    loss_B: Tensor = _CatalogueSum.apply(*matrices, targets, weight_B, reduction)  # type: ignore[no-untyped-call]  # torch ships apply untyped
    return loss_B


def _log_partition_(score_BC: Tensor) -> Tensor:
    peak_B1 = score_BC.amax(dim=1, keepdim=True)
    sum_B1 = score_BC.sub_(peak_B1).exp_().sum(dim=1, keepdim=True)
    score_BC.div_(sum_B1)
    return (sum_B1.log() + peak_B1)[:, 0]


def _log_partition_across(part_BK: Tensor) -> tuple[Tensor, Tensor]:
    total_B = part_BK.logsumexp(dim=1)
    return total_B, (part_BK - total_B[:, None]).exp()


def _softplus_sum_(score_BC: Tensor) -> Tensor:
    # Some rows at a time, in the same room: softplus has no form that works in place.
    parts = score_BC.tensor_split(SOFTPLUS_PARTS)
    room_SC, sums = torch.empty_like(parts[0]), list[Tensor]()
    for part in parts:
        softplus_SC = functional.softplus(part, out=room_SC[: len(part)])  # type: ignore[call-arg]  # torch's stub has no out
        sums.append(softplus_SC.sum(dim=1))
    sum_B = torch.cat(sums)
    score_BC.sigmoid_()
    return sum_B


def _softplus_sum_across(part_BK: Tensor) -> tuple[Tensor, Tensor]:
    return part_BK.sum(dim=1), torch.ones_like(part_BK)


# log sum exp of all scores; its derivative is the softmax.
LOG_PARTITION: Final = Reduction(_log_partition_, _log_partition_across)
# The sum of log(1 + e^s); its derivative is the logistic function.
SOFTPLUS_SUM: Final = Reduction(_softplus_sum_, _softplus_sum_across)


@final
@dataclass(frozen=True, slots=True)
class _Blocks:
    """The scores of a batch, some items at a time.

    ``own``: row, item and weight of all targets, in the order of items.
    """

    query_BH: Tensor
    vectors_IH: Tensor
    bias_I: Tensor
    own: tuple[Tensor, Tensor, Tensor]

    @classmethod
    def of(
        cls, query_BH: Tensor, vectors_IH: Tensor, bias_I: Tensor, targets: HistoryBatch
    ) -> Self:
        order_N = targets.item_index_N.argsort()
        weight_N = targets.weight_N.to(query_BH.dtype)
        own = (targets.row_N[order_N], targets.item_index_N[order_N], weight_N[order_N])
        return cls(query_BH, vectors_IH, bias_I, own)

    @property
    def items(self) -> list[slice]:
        """The blocks: all items, in order."""
        num_items, width = len(self.bias_I), _width(len(self.query_BH))
        starts = range(0, num_items, width)
        return [slice(start, min(start + width, num_items)) for start in starts]

    def room(self) -> Tensor:
        """Make room for the scores of the largest block."""
        num_rows = len(self.query_BH)
        return self.query_BH.new_empty(num_rows * min(_width(num_rows), len(self.bias_I)))

    def scores(self, items: slice, room_S: Tensor) -> Tensor:
        """Make the scores of a block, [B, C], where those of the block before were."""
        shape = (len(self.query_BH), items.stop - items.start)
        score_BC = room_S[: shape[0] * shape[1]].view(shape)
        vectors_CH = self.vectors_IH[items]
        return torch.addmm(self.bias_I[items], self.query_BH, vectors_CH.T, out=score_BC)

    def targets(self, items: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Give the targets among the items of a block: row, item (from 0), weight."""
        row_N, item_N, weight_N = self.own
        ends = torch.tensor((items.start, items.stop), device=item_N.device)
        first, last = torch.searchsorted(item_N, ends).tolist()
        within = slice(first, last)
        return row_N[within], item_N[within] - items.start, weight_N[within]


def _width(num_rows: int) -> int:
    return max(1, MAX_SCORES // max(1, num_rows))


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
        blocks = _Blocks.of(query_BH, vectors_IH, bias_I, targets)
        own_B = query_BH.new_zeros(len(query_BH))
        room_S, parts = blocks.room(), list[Tensor]()
        for items in blocks.items:
            score_BC = blocks.scores(items, room_S)
            row_N, item_N, own_weight_N = blocks.targets(items)
            own_B.index_add_(0, row_N, score_BC[row_N, item_N] * own_weight_N)
            parts.append(reduction.within(score_BC))
        total_B, share_BK = reduction.across(torch.stack(parts, dim=1))
        ctx.save_for_backward(query_BH, vectors_IH, bias_I, weight_B, share_BK)
        ctx.targets, ctx.reduction = targets, reduction
        ctx.slope_S = room_S if len(parts) == 1 else None
        return weight_B * total_B - own_B

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_B: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        query_BH, vectors_IH, bias_I, weight_B, share_BK = ctx.saved_tensors
        kept_S, ctx.slope_S = ctx.slope_S, None  # used up: it is overwritten below
        blocks = _Blocks.of(query_BH, vectors_IH, bias_I, ctx.targets)
        room_S = blocks.room() if kept_S is None else kept_S
        grad_query_BH = torch.zeros_like(query_BH)
        grad_vectors_IH, grad_bias_I = torch.empty_like(vectors_IH), torch.empty_like(bias_I)
        for block, items in enumerate(blocks.items):
            if kept_S is None:
                slope_BC = blocks.scores(items, room_S)
                ctx.reduction.within(slope_BC)
            else:
                slope_BC = kept_S.view(len(query_BH), -1)
            slope_BC *= (grad_B * weight_B * share_BK[:, block])[:, None]
            row_N, item_N, own_weight_N = blocks.targets(items)
            slope_BC[row_N, item_N] -= own_weight_N * grad_B[row_N]
            grad_query_BH.addmm_(slope_BC, vectors_IH[items])
            torch.mm(slope_BC.T, query_BH, out=grad_vectors_IH[items])
            torch.sum(slope_BC, dim=0, out=grad_bias_I[items])
        return grad_query_BH, grad_vectors_IH, grad_bias_I, None, None, None
