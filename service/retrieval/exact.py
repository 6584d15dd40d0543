"""Exact retrieval on torch, any device: candidates by a float32 product, ranked in float64."""

from collections.abc import Sequence
from typing import Final, final

import torch
from torch import Tensor

from service.histories import HistoryBatch
from service.retrieval.base import TopK, Wanted
from service.retrieval.certificate import Bounded, Certificate, Count, not_counted
from service.retrieval.item_scores import ItemScores, Linear, added_by
from service.retrieval.ranking import hide

MIN_SPARE: Final = 16
SPARE_SHARE: Final = 0.25
FLOAT32_UNIT: Final = 2.0**-24


@final
class ExactRetriever:
    """The best items by float64 score, whatever the batch, the device and the thread count.

    The bound of the certificate is a float32 product over the catalogue. A float32 sum of
    n = H + 1 terms (the bias is one) errs by at most ``n u / (1 - n u)`` times the sum of their
    absolute values, u = 2^-24 (Higham, "Accuracy and Stability of Numerical Algorithms", section
    3.1), and that sum is at most ``|q| |v| + |b|``. So no item scores more than its product plus
    ``2 n u (|q| |v| + |b|)``, the 2 being slack for the denominator and the norms.

    With a ``linear`` part its float64 scores are added to both products, which leaves the proof
    as it is.
    """

    name = "exact"

    def __init__(
        self,
        item_vectors_IH: Tensor,
        item_bias_I: Tensor,
        linear: Linear = None,
        count: Count = not_counted,
    ) -> None:
        self._linear = linear
        self._scores = ItemScores(item_vectors_IH, item_bias_I)
        self._certificate = Certificate(self._scores, MIN_SPARE, SPARE_SHARE, count)

    def top_k(
        self, query_BH: Tensor, wanted: Sequence[Wanted], histories: HistoryBatch | None = None
    ) -> list[TopK]:
        """Pick ``min(k, eligible)`` items for each of B rows; hidden items never come back.

        Raises:
            ValueError: There is a linear part, and there are no histories.
        """
        scores = self._scores
        bound_BI = torch.addmm(scores.item_bias_I, query_BH, scores.item_vectors_IH.T)
        added_BI = added_by(self._linear, histories)
        if added_BI is not None:
            bound_BI = added_BI + bound_BI
        num_hidden_B = hide(bound_BI, wanted)
        terms = query_BH.shape[1] + 1
        slack_B = 2 * terms * FLOAT32_UNIT * scores.reach_B(query_BH)
        rows = Bounded(query_BH, bound_BI, slack_B, added_BI)
        return self._certificate.rank(rows, wanted, scores.num_items - num_hidden_B)
