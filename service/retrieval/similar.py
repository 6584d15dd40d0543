"""Items like an item: by the cosine of their vectors or, without any, by the item-item weights."""

from functools import cached_property
from typing import Final, Literal, Protocol, TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.device import to_host
from service.retrieval.base import TopK, Wanted

Measure: TypeAlias = Literal["cosine", "weight"]
Items: TypeAlias = NDArray[np.int64]
Scores: TypeAlias = NDArray[np.float64]

FLOAT32_UNIT: Final = 2.0**-24
# Items whose norms are taken at once: of 600 float64 numbers each, 80 MB.
BLOCK_ITEMS: Final = 16_384


class Weights(Protocol):
    """A sparse item-item matrix (CSR): the ``ItemItem`` of a model."""

    @property
    def offset_I1(self) -> Tensor:
        """int64, where the entries of each item begin, and where the last ones end."""

    @property
    def item_index_M(self) -> Tensor:
        """The item that each entry votes for."""

    @property
    def weight_M(self) -> Tensor:
        """How strongly."""


@final
class Neighbours:
    """The items of one model by their likeness to one of them; ties go to the smaller index.

    Where the model has an item matrix, likeness is the cosine of two of its rows, in float64 and
    rounded to float32; an item whose row is zero is like nothing. The bias says how popular an
    item is, and nothing of what it is like. A full-rank linear part beside the matrix has no say.

    A model with an item-item matrix alone has the mean of the two weights between a pair of items,
    ``(W[i, j] + W[j, i]) / 2``: how much a history with the one speaks for the other. Pruning has
    left few of them, and an item without a weight above zero is no neighbour.

    Safe on any thread. It is best not called on the event loop: a call reads the item matrix once,
    the first one twice.

    Args:
        item_vectors_IH: float32, not copied; H may be 0.
        linear: Of a model without vectors.
    """

    def __init__(self, item_vectors_IH: Tensor, linear: Weights | None) -> None:
        self._vectors_IH = item_vectors_IH.detach()
        self._linear = linear

    @property
    def measure(self) -> Measure:
        """What the scores are."""
        return "weight" if self._vectors_IH.shape[1] == 0 else "cosine"

    def top_k(self, item_index: int, wanted: Wanted) -> TopK:
        """Pick the ``min(k, eligible)`` items that are most like an item, which is not one of them.

        Args:
            item_index: The item.
            wanted: How many of which; hidden items never come back.
        """
        eligible_I = self._eligible(item_index, wanted)
        if self.measure == "cosine":
            item_C = self._candidates(item_index, eligible_I, wanted.k)
            score_C = self._cosines(item_index, item_C)
        else:
            score_I = self._weights(item_index)
            item_C = np.flatnonzero(eligible_I & (score_I > 0))
            score_C = score_I[item_C]
        # Rounded before it is sorted, so that what is shown as equal stands in the order of index.
        shown_C = score_C.astype(np.float32)
        order_K = np.lexsort((item_C, -shown_C))[: wanted.k]
        return TopK(item_C[order_K], shown_C[order_K])

    def _eligible(self, item_index: int, wanted: Wanted) -> NDArray[np.bool_]:
        num_items = len(self._vectors_IH)
        shown_I = wanted.shown_I
        eligible_I = np.ones(num_items, dtype=bool) if shown_I is None else shown_I.copy()
        eligible_I[wanted.hidden_item_index] = False
        eligible_I[item_index] = False
        return eligible_I

    @cached_property
    def _norm_I(self) -> Tensor:
        """The norms of all vectors, float64; 1 in place of 0, which makes a cosine of 0."""
        blocks = torch.split(self._vectors_IH, BLOCK_ITEMS)
        norm_I = torch.cat([block_bH.double().norm(dim=1) for block_bH in blocks])
        norm_I[norm_I == 0] = 1.0
        return norm_I

    def _candidates(self, item_index: int, eligible_I: NDArray[np.bool_], k: int) -> Items:
        """Find all items that may be among the k best, by a float32 product over the catalogue.

        A product of H terms errs by at most ``H u / (1 - H u)`` times the norms, u = 2^-24 (Higham,
        "Accuracy and Stability of Numerical Algorithms", section 3.1). Rounding the unit vector
        and the cosine adds 2 u, and twice the sum has room for the denominator: who stands twice
        that below the k-th is out.
        """
        unit_H = (self._vectors_IH[item_index].double() / self._norm_I[item_index]).float()
        (cosine,) = to_host((self._vectors_IH @ unit_H).double() / self._norm_I)
        cosine_I = cosine.numpy()
        item_E: Items = np.flatnonzero(eligible_I)
        if len(item_E) <= k:
            return item_E
        cosine_E = cosine_I[item_E]
        least = np.partition(cosine_E, len(item_E) - k)[len(item_E) - k]
        slack = 2 * (self._vectors_IH.shape[1] + 2) * FLOAT32_UNIT
        near_C: Items = item_E[cosine_E >= least - 2 * slack]
        return near_C

    def _cosines(self, item_index: int, item_C: Items) -> Scores:
        chosen_C = torch.from_numpy(item_C).to(self._vectors_IH.device)
        vector_H = self._vectors_IH[item_index].double()
        dot_C = (self._vectors_IH[chosen_C].double() * vector_H).sum(dim=1)
        (cosine,) = to_host(dot_C / (self._norm_I[chosen_C] * self._norm_I[item_index]))
        cosine_C: Scores = cosine.numpy()
        return cosine_C

    def _weights(self, item_index: int) -> Scores:
        matrix = self._linear
        if matrix is None:
            raise ValueError("the model has neither item vectors nor item-item weights")
        (weight,) = to_host((_row(matrix, item_index) + _column(matrix, item_index)) / 2)
        weight_I: Scores = weight.numpy()
        return weight_I


def _row(matrix: Weights, item_index: int) -> Tensor:
    """Spread the weights of what an item votes for, float64 [I]."""
    first, end = matrix.offset_I1[item_index : item_index + 2].tolist()
    row_I = _zeros(matrix)
    row_I[matrix.item_index_M[first:end].long()] = matrix.weight_M[first:end].double()
    return row_I


def _column(matrix: Weights, item_index: int) -> Tensor:
    """Spread the weights of what votes for an item, float64 [I]; reads the index of all entries."""
    entry_N = (matrix.item_index_M == item_index).nonzero()[:, 0]
    source_N = torch.searchsorted(matrix.offset_I1, entry_N, right=True) - 1
    column_I = _zeros(matrix)
    column_I[source_N] = matrix.weight_M[entry_N].double()
    return column_I


def _zeros(matrix: Weights) -> Tensor:
    return matrix.weight_M.new_zeros(len(matrix.offset_I1) - 1, dtype=torch.float64)
