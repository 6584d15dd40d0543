"""A proven top-K from any cheap bound: candidates by the bound, ranked by what they truly score.

Given ``bound_BI + slack_B >= score_BI`` for every item, the C items of the largest bounds are
scored exactly. No other item can score more than the smallest bound among them plus the slack:
a row whose k-th exact score is above that is certified. Any other row is widened: all items
whose bound reaches its k-th score are scored exactly, and only those can be in its list.
"""

from collections.abc import Callable, Sequence
from typing import Final, Literal, final

import torch
from torch import Tensor

from service.device import to_device
from service.retrieval.base import TopK, Wanted
from service.retrieval.item_scores import Added, ItemScores
from service.retrieval.ranking import as_lists, hide, ordered

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

    def rank(
        self,
        bound_BI: Tensor,
        slack_B: Tensor,
        query_BH: Tensor,
        wanted: Sequence[Wanted],
        added_BI: Added = None,
    ) -> list[TopK]:
        """Give each row its list.

        Args:
            bound_BI: float32; ``bound_BI + slack_B`` is never below the score. Bounds of hidden
                items are overwritten with -inf.
            slack_B: float64.
            query_BH: Of the same rows.
            wanted: One per row.
            added_BI: float64 scores of a linear part, contained in the bound.
        """
        num_items = bound_BI.shape[1]
        num_eligible_B = num_items - hide(bound_BI, wanted)
        k = max(want.k for want in wanted)
        num_candidates = min(k + max(self._min_spare, int(k * self._spare_share)), num_items)
        cut_BC, item_BC = candidates(bound_BI, num_candidates)
        score_BC = self._scores.of_items(query_BH, item_BC, added_BI).float()
        score_BC, item_BC = ordered(
            score_BC.masked_fill_(cut_BC == -torch.inf, -torch.inf), item_BC
        )
        if num_candidates < num_items:
            ceiling_B = (cut_BC.amin(dim=1) + slack_B).float()
            for row, floor in self._unproven(score_BC, ceiling_B, wanted):
                added_I = None if added_BI is None else added_BI[row]
                in_reach_I = bound_BI[row] + slack_B[row] >= floor
                best_C, item_C = self._widened(query_BH[row], in_reach_I, added_I, num_candidates)
                score_BC[row, : len(best_C)], item_BC[row, : len(item_C)] = best_C, item_C
        return as_lists(item_BC, score_BC, wanted, num_eligible_B)

    def _unproven(
        self, score_BC: Tensor, ceiling_B: Tensor, wanted: Sequence[Wanted]
    ) -> list[tuple[int, float]]:
        """Name the rows whose k-th score other items could reach, and that score."""
        last_B1 = to_device(torch.tensor([[want.k - 1] for want in wanted]), score_BC.device)
        kth_B = score_BC.gather(1, last_B1)[:, 0]
        # Nothing but hidden items was left out where a hidden one was picked.
        proven_B = torch.logical_or(kth_B > ceiling_B, ceiling_B == -torch.inf)
        rows = (~proven_B).nonzero().flatten().tolist()
        self._count("certified", len(wanted) - len(rows))
        return [(row, float(kth_B[row])) for row in rows]

    def _widened(
        self, query_H: Tensor, in_reach_I: Tensor, added_I: Added, num_candidates: int
    ) -> tuple[Tensor, Tensor]:
        item_C = in_reach_I.nonzero().flatten()
        if len(item_C) > WIDEST_SHARE * len(in_reach_I):
            self._count("recomputed", 1)
            score_C = self._scores.of_all(query_H, added_I)[item_C]
        else:
            self._count("widened", 1)
            added_BI = None if added_I is None else added_I[None]
            score_C = self._scores.of_items(query_H[None], item_C[None], added_BI)[0]
        best_C, order_C = score_C.float().sort(descending=True, stable=True)
        return best_C[:num_candidates], item_C[order_C[:num_candidates]]


def candidates(bound_BI: Tensor, count: int) -> tuple[Tensor, Tensor]:
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
