"""Retrieval on a CPU: candidates by an int8 product, proven and ranked by exact scores."""

from collections.abc import Sequence
from typing import Final, final

import torch
from torch import Tensor

from service.histories import HistoryBatch
from service.retrieval.base import TopK, Wanted
from service.retrieval.certificate import Certificate, Count, not_counted
from service.retrieval.exact import FLOAT32_UNIT
from service.retrieval.integer_product import (
    MAX_ACTIVATION,
    ZERO_POINT,
    IntegerProduct,
    largest_weight,
)
from service.retrieval.item_scores import Added, ItemScores, Linear, added_by

MIN_SPARE: Final = 16
SPARE_SHARE: Final = 0.4
# Rows whose bounds (25,000 items: 3 MB) stay in the caches from the product to the pick.
ROWS_AT_A_TIME: Final = 32
# Of the bound's own arithmetic: five roundings to float32, of numbers below 4 (|q| |v| + |b|).
ROUNDINGS: Final = 24
# Of the error's: some roundings of each term, and of the vectors where their levels were taken.
SAFETY: Final = 1 + 1e-4
# Keeps the scale of a zero vector from being zero.
SMALLEST: Final = 1e-30


@final
class QuantizedRetriever:
    """The best items by float64 score, found through int8.

    Item i is stored as integers w_i with one scale s_i, a query as integers a with one scale t:
    ``v_i = s_i w_i + d_i`` and ``q = t a + r``, with what rounding left in d_i and r. Then

        q . v_i = t s_i (a . w_i) + s_i (r . w_i) + q . d_i

    where the first term is what the integer product gives, exactly. By Cauchy and Schwarz the
    others are at most ``s_i (|r| W + |q| D)`` with ``W = max |w_i|`` and ``D = max |d_i| / s_i``,
    and so the score is never above

        s_i t (a . w_i + e) + b_i        e = (|r| W + |q| D) / t

    e is one number a row: the bound is as cheap as the approximation, and as tight for the items
    whose vectors are short, which are most. Its own float32 arithmetic is in the slack.
    """

    name = "int8"

    def __init__(
        self,
        item_vectors_IH: Tensor,
        item_bias_I: Tensor,
        linear: Linear = None,
        threads: int = 1,
        count: Count = not_counted,
    ) -> None:
        self._linear = linear
        self._scores = ItemScores(item_vectors_IH, item_bias_I)
        self._certificate = Certificate(self._scores, MIN_SPARE, SPARE_SHARE, count)
        vectors_IH = self._scores.item_vectors_IH
        largest = largest_weight()
        self._scale_I = vectors_IH.abs().amax(dim=1).clamp_min(SMALLEST) / largest
        level_IH = vectors_IH / self._scale_I[:, None]
        weight_IH = level_IH.round()
        self._weight_norm = float(weight_IH.norm(dim=1).max())
        self._left_norm = float(level_IH.sub_(weight_IH).norm(dim=1).max())
        self._product = IntegerProduct(weight_IH.to(torch.int8).numpy(), threads)

    def top_k(
        self, query_BH: Tensor, wanted: Sequence[Wanted], histories: HistoryBatch | None = None
    ) -> list[TopK]:
        """Pick ``min(k, eligible)`` items for each of B rows; hidden items never come back.

        Raises:
            ValueError: There is a linear part, and there are no histories.
        """
        added_BI = added_by(self._linear, histories)
        tops: list[TopK] = []
        for start in range(0, len(wanted), ROWS_AT_A_TIME):
            rows = slice(start, start + ROWS_AT_A_TIME)
            added_bI = None if added_BI is None else added_BI[rows]
            tops += self._ranked(query_BH[rows], wanted[rows], added_bI)
        return tops

    def _ranked(self, query_BH: Tensor, wanted: Sequence[Wanted], added_BI: Added) -> list[TopK]:
        bound_BI = self.bounds(query_BH)
        if added_BI is not None:
            bound_BI = added_BI + bound_BI
        slack_B = ROUNDINGS * FLOAT32_UNIT * self._scores.reach_B(query_BH)
        return self._certificate.rank(bound_BI, slack_B, query_BH, wanted, added_BI)

    def bounds(self, query_BH: Tensor) -> Tensor:
        """Give what no item's score is above, but for the rounding of this very sum: [B, I]."""
        scale_B1 = query_BH.abs().amax(dim=1, keepdim=True).clamp_min(SMALLEST) / MAX_ACTIVATION
        level_BH = (query_BH / scale_B1).round_()
        left_B1 = (query_BH - level_BH * scale_B1).norm(dim=1, keepdim=True)
        norm_B1 = query_BH.norm(dim=1, keepdim=True)
        error_B1 = left_B1 * self._weight_norm + norm_B1 * self._left_norm
        sum_BI = self._product(level_BH.add_(ZERO_POINT).to(torch.uint8).numpy())
        bound_BI = sum_BI.float().add_(SAFETY * error_B1 / scale_B1).mul_(scale_B1)
        return torch.addcmul(self._scores.item_bias_I, bound_BI, self._scale_I, out=bound_BI)
