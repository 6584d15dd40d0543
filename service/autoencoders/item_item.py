"""A sparse item-item matrix: what a full-rank linear autoencoder keeps after pruning."""

from typing import Self, final

import torch
from torch import Tensor, nn

from service.histories import HistoryBatch


@final
class ItemItem(nn.Module):
    """``score_BI = history_BI @ weight_II`` with a sparse ``weight_II``, in float64.

    The entries of one source item lie together (CSR by the item of the history): a history of
    100 items reads 100 rows and no other. They are added in one order whatever the batch.

    Attributes:
        offset_I1: int64, ``[offset_I1[j], offset_I1[j + 1])`` are the entries of source item j.
        item_index_M: int32, the item that each of M entries votes for.
        weight_M: float32, how strongly.
    """

    offset_I1: Tensor
    item_index_M: Tensor
    weight_M: Tensor

    def __init__(self, num_items: int, num_weights: int) -> None:
        super().__init__()
        self.register_buffer("offset_I1", torch.zeros(num_items + 1, dtype=torch.int64))
        self.register_buffer("item_index_M", torch.zeros(num_weights, dtype=torch.int32))
        self.register_buffer("weight_M", torch.zeros(num_weights))

    @classmethod
    def of(cls, offset_I1: Tensor, item_index_M: Tensor, weight_M: Tensor) -> Self:
        """Wrap the arrays of a CSR matrix whose rows are the items of histories."""
        made = cls(len(offset_I1) - 1, len(weight_M))
        made.offset_I1 = offset_I1.to(torch.int64)
        made.item_index_M = item_index_M.to(torch.int32)
        made.weight_M = weight_M.to(torch.float32)
        return made

    @property
    def num_items(self) -> int:
        """I, rows and columns of the matrix."""
        return len(self.offset_I1) - 1

    def forward(self, histories: HistoryBatch) -> Tensor:
        """Add up the weighted rows of each history's items: float64 [B, I]."""
        start_N = self.offset_I1[histories.item_index_N]
        length_N = self.offset_I1[histories.item_index_N + 1] - start_N
        # Entry e of the gathered M' belongs to history entry source_M, at this place of its row.
        source_M = torch.repeat_interleave(length_N)
        first_N = length_N.cumsum(0) - length_N
        entry_M = torch.arange(len(source_M), device=start_N.device) + (start_N - first_N)[source_M]
        vote_M = self.weight_M[entry_M].double() * histories.weight_N.double()[source_M]
        cell_M = histories.row_N[source_M] * self.num_items + self.item_index_M[entry_M]
        score_BI = vote_M.new_zeros(len(histories) * self.num_items).index_add(0, cell_M, vote_M)
        return score_BI.view(len(histories), self.num_items)
