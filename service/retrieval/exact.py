"""Exact retrieval on torch, any device: candidates by a float32 product, ranked in float64."""

from collections.abc import Callable, Sequence
from typing import Final, final

import torch
from torch import Tensor

from service.histories import HistoryBatch
from service.retrieval.base import TopK, Wanted
from service.retrieval.ranking import as_lists, hide, ordered

# Candidates beyond k, so that the k-th item stands clear of what was not picked; scores lie
# closer together the deeper a list goes.
MIN_SPARE: Final = 16
SPARE_SHARE: Final = 0.25
# Candidates are gathered as B x C x H float64, 32 MB at a time.
GATHERED_NUMBERS: Final = 4_000_000
FLOAT32_UNIT: Final = 2.0**-24


@final
class ExactRetriever:
    """The best items by float64 score, whatever the batch, the device and the thread count.

    A float32 product over the catalogue picks somewhat more than k candidates a row; they are
    scored again in float64 and ranked by that score, rounded to float32. The list is proven. A
    float32 sum of n = H + 1 terms (the bias is one) errs by at most ``n u / (1 - n u)`` times the
    sum of their absolute values, u = 2^-24 (Higham, "Accuracy and Stability of Numerical
    Algorithms", section 3.1), and that sum is at most ``|q| |v| + |b|``. So an item that was not
    picked scores at most the lowest candidate's float32 score plus ``2 n u (|q| |v| + |b|)``, the
    2 being slack for the denominator and the norms. A row whose k-th score is not above that is
    ranked over the whole catalogue in float64.

    With a ``linear`` part its float64 scores are added to both products, which leaves the proof
    as it is.
    """

    name = "exact"

    def __init__(
        self,
        item_vectors_IH: Tensor,
        item_bias_I: Tensor,
        linear: Callable[[HistoryBatch], Tensor] | None = None,
    ) -> None:
        self._linear = linear
        self._item_vectors_IH = item_vectors_IH.detach()
        self._item_bias_I = item_bias_I.detach()
        self._max_norm = self._item_vectors_IH.norm(dim=1).max()
        self._max_bias = self._item_bias_I.abs().max()

    def top_k(
        self, query_BH: Tensor, wanted: Sequence[Wanted], histories: HistoryBatch | None = None
    ) -> list[TopK]:
        """Pick ``min(k, eligible)`` items for each of B rows; hidden items never come back.

        Raises:
            ValueError: There is a linear part, and there are no histories.
        """
        added_BI = self._added(histories)
        score_BI = torch.addmm(self._item_bias_I, query_BH, self._item_vectors_IH.T)
        if added_BI is not None:
            score_BI = added_BI + score_BI
        num_items = score_BI.shape[1]
        num_eligible_B = num_items - hide(score_BI, wanted)
        k = max(want.k for want in wanted)
        num_candidates = min(k + max(MIN_SPARE, int(k * SPARE_SHARE)), num_items)
        cut_BC, item_BC = score_BI.topk(num_candidates, dim=1)
        score_BC, item_BC = self._rescored(query_BH, cut_BC, item_BC, added_BI)
        if num_candidates < num_items:
            proven_B = self._proven(query_BH, cut_BC[:, -1], score_BC, wanted)
            for row in (~proven_B).nonzero().flatten().tolist():
                added_I = None if added_BI is None else added_BI[row]
                score_BC[row], item_BC[row] = self._over_all_items(
                    query_BH[row], score_BI[row], added_I, num_candidates
                )
        return as_lists(item_BC, score_BC, wanted, num_eligible_B)

    def _added(self, histories: HistoryBatch | None) -> Tensor | None:
        if self._linear is None:
            return None
        if histories is None:
            raise ValueError("the linear part needs histories")
        return self._linear(histories)

    def _rescored(
        self, query_BH: Tensor, cut_BC: Tensor, item_BC: Tensor, added_BI: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        rows = max(1, GATHERED_NUMBERS // (item_BC.shape[1] * query_BH.shape[1]))
        blocks = zip(torch.split(query_BH, rows), torch.split(item_BC, rows), strict=True)
        score_BC = torch.cat([self._float64_scores(*block) for block in blocks])
        if added_BI is not None:
            score_BC += added_BI.gather(1, item_BC)
        hidden_BC = cut_BC == -torch.inf
        return ordered(score_BC.float().masked_fill(hidden_BC, -torch.inf), item_BC)

    def _float64_scores(self, query_BH: Tensor, item_BC: Tensor) -> Tensor:
        vectors_BCH = self._item_vectors_IH[item_BC].double()
        score_BC1 = torch.bmm(vectors_BCH, query_BH.double()[:, :, None])
        return score_BC1.squeeze(2) + self._item_bias_I[item_BC].double()

    def _proven(
        self, query_BH: Tensor, lowest_B: Tensor, score_BC: Tensor, wanted: Sequence[Wanted]
    ) -> Tensor:
        """Tell which rows' first k items no other item can reach."""
        terms = query_BH.shape[1] + 1
        reach_B = query_BH.norm(dim=1).double() * self._max_norm.double() + self._max_bias.double()
        ceiling_B = (lowest_B.double() + 2 * terms * FLOAT32_UNIT * reach_B).float()
        last_B = torch.tensor([want.k - 1 for want in wanted], device=score_BC.device)
        kth_B = score_BC.gather(1, last_B[:, None])[:, 0]
        # Nothing but hidden items was left out where a hidden one was picked.
        return torch.logical_or(kth_B > ceiling_B, lowest_B == -torch.inf)

    def _over_all_items(
        self, query_H: Tensor, score_I: Tensor, added_I: Tensor | None, k: int
    ) -> tuple[Tensor, Tensor]:
        exact_I = self._item_vectors_IH.double() @ query_H.double() + self._item_bias_I.double()
        if added_I is not None:
            exact_I += added_I
        exact_I = exact_I.float().masked_fill_(score_I == -torch.inf, -torch.inf)
        best_I, item_I = exact_I.sort(descending=True, stable=True)
        return best_I[:k], item_I[:k]
