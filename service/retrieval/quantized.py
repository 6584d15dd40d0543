"""Retrieval on a CPU: candidates by an int8 product, proven and ranked by exact scores."""

from collections.abc import Sequence
from typing import Final, final

from torch import Tensor

from service.histories import HistoryBatch
from service.retrieval.base import TopK, Wanted
from service.retrieval.certificate import (
    Bounded,
    Candidates,
    Certificate,
    Count,
    not_counted,
)
from service.retrieval.exact import FLOAT32_UNIT
from service.retrieval.integer_search import IntegerSearch, QuantizedItems, largest_weight
from service.retrieval.item_scores import Added, ItemScores, Linear, added_by
from service.retrieval.ranking import hidden_cells

MIN_SPARE: Final = 16
SPARE_SHARE: Final = 0.4
# Rows whose bounds (25,000 items: 3 MB) stay in the caches from the product to the pick.
ROWS_AT_A_TIME: Final = 32
# Of the bound's own arithmetic: five roundings to float32, of numbers below 4 (|q| |v| + |b|).
ROUNDINGS: Final = 24


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
        vectors_IH, bias_I = self._scores.item_vectors_IH, self._scores.item_bias_I
        items = QuantizedItems.of(vectors_IH, largest_weight())
        self.search = IntegerSearch(items, vectors_IH, bias_I, threads)

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
        hidden_N, num_hidden_B = hidden_cells(wanted, self._scores.num_items)
        count = self._certificate.num_candidates(wanted)
        # The search picks before a linear part is added, and from few blocks no long list.
        picks = added_BI is None and count <= self.search.most_candidates
        shown = [want.shown_I for want in wanted]
        found = self.search(query_BH, hidden_N, count if picks else 1, shown)
        candidates = Candidates(found.bound_BC, found.item_BC, found.score_BC) if picks else None
        bound_BI = found.bound_BI if added_BI is None else added_BI + found.bound_BI
        slack_B = ROUNDINGS * FLOAT32_UNIT * self._scores.reach_B(query_BH)
        rows = Bounded(query_BH, bound_BI, slack_B, added_BI, candidates)
        return self._certificate.rank(rows, wanted, self._scores.num_items - num_hidden_B)
