"""What an item truly scores: sums in float64, the same for any batch, device and thread count."""

from collections.abc import Callable, Iterator
from typing import Final, TypeAlias, final

import torch
from torch import Tensor

from service.histories import HistoryBatch

# Vectors are gathered as B x C x H float64, 32 MB at a time.
GATHERED_NUMBERS: Final = 4_000_000

# Items that are taken to float64 at once: of 600 numbers each, 5 MB, which stay in the caches. Of a
# million the norms take 0.2 s so, and 2 s and 4.8 GB in one piece.
DOUBLED_AT_A_TIME: Final = 1_024

# The full-rank part of a model, if it has one, and what that adds to the scores: float64 [B, I].
Linear: TypeAlias = Callable[[HistoryBatch], Tensor] | None
Added: TypeAlias = Tensor | None


def added_by(linear: Linear, histories: HistoryBatch | None) -> Added:
    """Give the scores of a linear part.

    Raises:
        ValueError: There is a linear part, and there are no histories.
    """
    if linear is None:
        return None
    if histories is None:
        raise ValueError("the linear part needs histories")
    return linear(histories)


@final
class ItemScores:
    """``query . vector + bias (+ linear part)`` in float64, to be rounded to float32 by the caller.

    Args:
        item_vectors_IH: float32; not copied.
        item_bias_I: float32; not copied.
    """

    def __init__(self, item_vectors_IH: Tensor, item_bias_I: Tensor) -> None:
        self.item_vectors_IH = item_vectors_IH.detach()
        self.item_bias_I = item_bias_I.detach()
        self.num_items = len(item_bias_I)
        self._max_norm = _norms(self.item_vectors_IH).max()
        self._max_bias = self.item_bias_I.abs().max().double()

    def of_items(self, query_BH: Tensor, item_BC: Tensor, added_BI: Added = None) -> Tensor:
        """Score C items a row, float64 [B, C]."""
        products = row_by_row if query_BH.is_cpu else all_at_once
        score_BC = products(self.item_vectors_IH, query_BH.double(), item_BC)
        score_BC += self.item_bias_I[item_BC]
        return score_BC if added_BI is None else score_BC + added_BI.gather(1, item_BC)

    def of_all(self, query_H: Tensor, added_I: Added = None) -> Tensor:
        """Score the catalogue for one row, float64 [I]."""
        query_H = query_H.double()
        score_I = torch.empty_like(self.item_bias_I, dtype=torch.float64)
        for block_bH, score_b in _blocks(self.item_vectors_IH, score_I):
            torch.mv(block_bH.double(), query_H, out=score_b)
        score_I += self.item_bias_I
        return score_I if added_I is None else score_I + added_I

    def reach_B(self, query_BH: Tensor) -> Tensor:
        """Bound ``|q| |v| + |b|`` over all items, float64 [B]: what rounding errors scale with."""
        norm_B = query_BH.norm(dim=1, dtype=torch.float64)
        reach_B: Tensor = norm_B * self._max_norm + self._max_bias
        return reach_B


def _norms(vectors_IH: Tensor) -> Tensor:
    """Give the norms of all vectors, float64 [I]: squares of float32 leave its range."""
    norm_I = vectors_IH.new_empty(len(vectors_IH), dtype=torch.float64)
    for block_bH, norm_b in _blocks(vectors_IH, norm_I):
        torch.linalg.vector_norm(block_bH, dim=1, dtype=torch.float64, out=norm_b)
    return norm_I


def _blocks(vectors_IH: Tensor, result_I: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Go through items, some at a time, with the place for what comes of each.

    Results of their own, between the blocks in float64 that come and go, would keep the heap from
    ever using the place of a block again.
    """
    blocks = torch.split(vectors_IH, DOUBLED_AT_A_TIME)
    return zip(blocks, torch.split(result_I, DOUBLED_AT_A_TIME), strict=True)


def row_by_row(vectors_IH: Tensor, query_BH: Tensor, item_BC: Tensor) -> Tensor:
    """Multiply each row with its own items, float64 [B, C].

    On a CPU in a third of the time of a batched product: what one row gathers stays in the cache.
    """
    score_BC = torch.empty(item_BC.shape, dtype=torch.float64)
    for query_H, item_C, score_C in zip(query_BH, item_BC, score_BC, strict=True):
        torch.mv(vectors_IH.index_select(0, item_C).double(), query_H, out=score_C)
    return score_BC


def all_at_once(vectors_IH: Tensor, query_BH: Tensor, item_BC: Tensor) -> Tensor:
    """Multiply each row with its own items, float64 [B, C], in few calls: a GPU waits for calls."""
    rows = max(1, GATHERED_NUMBERS // max(1, item_BC.shape[1] * query_BH.shape[1]))
    blocks = zip(torch.split(query_BH[:, :, None], rows), torch.split(item_BC, rows), strict=True)
    parts = [torch.bmm(vectors_IH[item_bC].double(), query_bH1) for query_bH1, item_bC in blocks]
    return torch.cat(parts)[:, :, 0]
