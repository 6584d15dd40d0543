"""A proven top-K from any cheap bound: candidates by the bound, ranked by what they truly score.

Given ``bound_BI + slack_B >= score_BI`` for every item, the C items of the largest bounds are
scored exactly. No other item can score more than the smallest bound among them plus the slack:
a row whose k-th exact score is above that is certified. Any other row is widened: all items
whose bound reaches its k-th score are scored exactly, and only those can be in its list.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.device import to_host
from service.retrieval.base import TopK, Wanted
from service.retrieval.item_scores import Added, ItemScores
from service.retrieval.ranking import Scores, as_lists, ordered

Step = Literal["certified", "widened", "recomputed"]
Count = Callable[[Step, int], None]

# Candidates come from the blocks with the largest maxima: a maximum costs a pass of the vector
# unit, a selection from what is left a hundredth of one from the catalogue.
ITEMS_A_BLOCK: Final = 32
# Past this share of the catalogue one product costs less than a gather.
WIDEST_SHARE: Final = 0.1


def not_counted(step: Step, rows: int) -> None:
    """Count nothing."""
    del step, rows


@final
@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """The C items of each row with the largest bounds, in no order.

    Attributes:
        bound_BC: float32, -inf for hidden items.
        item_BC: int64.
        score_BC: float64, their true scores.
    """

    bound_BC: Tensor
    item_BC: Tensor
    score_BC: Tensor


@final
@dataclass(frozen=True, slots=True, eq=False)
class Bounded:
    """A batch of which upper bounds of all scores are known.

    Attributes:
        query_BH: The rows.
        bound_BI: ``bound_BI + slack_B`` is never below the score; -inf for hidden items.
        slack_B: float64.
        added_BI: float64 scores of a linear part, contained in the bound.
        candidates: ``num_candidates`` of each row, where they are known already.
    """

    query_BH: Tensor
    bound_BI: Tensor
    slack_B: Tensor
    added_BI: Added = None
    candidates: Candidates | None = None


@final
class Certificate:
    """Ranks rows by exact score, with proof.

    Args:
        scores: Knows what an item truly scores.
        min_spare: Candidates beyond k at least, so that the k-th item stands clear of what was
            not picked.
        spare_share: The same as a share of k; scores lie closer together the deeper a list goes.
        count: Told how many rows were certified at once, widened to the items in reach, or
            recomputed over the whole catalogue.
    """

    def __init__(
        self,
        scores: ItemScores,
        min_spare: int,
        spare_share: float,
        count: Count = not_counted,
    ) -> None:
        self._scores = scores
        self._min_spare = min_spare
        self._spare_share = spare_share
        self._count = count

    def num_candidates(self, wanted: Sequence[Wanted]) -> int:
        """Say how many items of each row are scored at first, C."""
        k = max(want.k for want in wanted)
        spare = max(self._min_spare, int(k * self._spare_share))
        return min(k + spare, self._scores.num_items)

    def rank(
        self, rows: Bounded, wanted: Sequence[Wanted], num_eligible_B: NDArray[np.int64]
    ) -> list[TopK]:
        """Give each row its list; of a row, ``num_eligible_B`` items are not hidden."""
        num_candidates = self.num_candidates(wanted)
        found = rows.candidates or self._candidates(rows, num_candidates)
        host = to_host(found.bound_BC, found.item_BC, found.score_BC, rows.slack_B)
        bound_BC, item_BC, true_BC, slack_B = (tensor.numpy() for tensor in host)
        shown_BC = np.where(bound_BC == -np.inf, -np.inf, true_BC).astype(np.float32)
        item_BC, score_BC = ordered(item_BC, shown_BC)
        if num_candidates < self._scores.num_items:
            ceiling_B = (bound_BC.min(axis=1) + slack_B).astype(np.float32)
            for row, floor in self._unproven(score_BC, ceiling_B, wanted):
                best = self._widened(rows, row, floor)
                best_C, item_C = (tensor[:num_candidates].numpy() for tensor in to_host(*best))
                score_BC[row, : len(best_C)], item_BC[row, : len(item_C)] = best_C, item_C
        return as_lists(item_BC, score_BC, wanted, num_eligible_B)

    def _candidates(self, rows: Bounded, count: int) -> Candidates:
        bound_BC, item_BC = largest(rows.bound_BI, count)
        score_BC = self._scores.of_items(rows.query_BH, item_BC, rows.added_BI)
        return Candidates(bound_BC, item_BC, score_BC)

    def _unproven(
        self, score_BC: Scores, ceiling_B: Scores, wanted: Sequence[Wanted]
    ) -> list[tuple[int, float]]:
        """Name the rows whose k-th score other items could reach, and that score."""
        kth_B = score_BC[np.arange(len(wanted)), [want.k - 1 for want in wanted]]
        # Nothing but hidden items was left out where a hidden one was picked.
        proven_B = (kth_B > ceiling_B) | (ceiling_B == -np.inf)
        rows = np.flatnonzero(~proven_B).tolist()
        self._count("certified", len(wanted) - len(rows))
        return [(row, float(kth_B[row])) for row in rows]

    def _widened(self, rows: Bounded, row: int, floor: float) -> tuple[Tensor, Tensor]:
        """Rank all items of a row that reach a score, best first: scores and items."""
        # Of norms beyond float32 the slack is no number: then all are in reach.
        in_reach_I = ~(rows.bound_BI[row] + rows.slack_B[row] < floor)
        item_C = in_reach_I.nonzero().flatten()
        query_H = rows.query_BH[row]
        added_I = None if rows.added_BI is None else rows.added_BI[row]
        if len(item_C) > WIDEST_SHARE * len(in_reach_I):
            self._count("recomputed", 1)
            score_C = self._scores.of_all(query_H, added_I)[item_C]
        else:
            self._count("widened", 1)
            added_BI = None if added_I is None else added_I[None]
            score_C = self._scores.of_items(query_H[None], item_C[None], added_BI)[0]
        best_C, order_C = score_C.float().sort(descending=True, stable=True)
        return best_C, item_C[order_C]


def largest(bound_BI: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Pick the ``count`` largest of each row, in no order: bounds and items, [B, count]."""
    if bound_BI.is_cuda or bound_BI.shape[1] < 2 * count * ITEMS_A_BLOCK:
        bound_BC, item_BC = bound_BI.topk(count, dim=1, sorted=False)
        return bound_BC, item_BC
    # Block j has the items j, j + J, j + 2 J and so on: the maxima of J blocks run along the rows.
    # The blocks with the ``count`` largest maxima hold the ``count`` largest bounds.
    rows, num_items = bound_BI.shape
    blocks = num_items // ITEMS_A_BLOCK
    whole = blocks * ITEMS_A_BLOCK
    bound_BEJ = bound_BI[:, :whole].view(rows, ITEMS_A_BLOCK, blocks)
    block_BC = bound_BEJ.amax(dim=1).topk(count, dim=1, sorted=False).indices
    item_BEC = block_BC[:, None, :] + torch.arange(0, whole, blocks)[None, :, None]
    rest_BR = torch.arange(whole, num_items).expand(rows, -1)
    item_BN = torch.cat([item_BEC.flatten(1), rest_BR], dim=1)
    bound_BC, position_BC = bound_BI.gather(1, item_BN).topk(count, dim=1, sorted=False)
    return bound_BC, item_BN.gather(1, position_BC)
