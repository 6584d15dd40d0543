"""A sparse item-item matrix: what a full-rank linear autoencoder keeps after pruning."""

from itertools import pairwise
from typing import Self, final

import numpy as np
import torch
from torch import Tensor, nn

from service.histories import HistoryBatch


@final
class ItemItem(nn.Module):
    """``score_BI = history_BI @ weight_II`` with a sparse ``weight_II``, in float64.

    The entries of one source item lie together (CSR by the item of the history): a history of
    100 items reads 100 rows and no other. Each history is added up alone and in the order of its
    items, so that its scores do not depend on the batch that it rides in; on a GPU the order is
    not fixed, which shows in the last digits of the float64 sums.

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
        with torch.device("meta"):
            made = cls(len(offset_I1) - 1, len(weight_M))
        made.offset_I1 = offset_I1.to(torch.int64)
        made.item_index_M = item_index_M.to(torch.int32)
        made.weight_M = weight_M.to(torch.float32)
        return made

    @property
    def num_items(self) -> int:
        """I, rows and columns of the matrix."""
        return len(self.offset_I1) - 1

    def check(self) -> None:
        """Prove that the arrays are those of a matrix; they may come from anywhere.

        Raises:
            ValueError: They are not.
        """
        offset_I1, item_M = self.offset_I1, self.item_index_M
        ends = offset_I1[0] == 0 and offset_I1[-1] == len(item_M)
        if not ends or bool((offset_I1.diff() < 0).any()):
            raise ValueError("the offsets of the item-item matrix do not rise from 0 to its end")
        if len(item_M) and not 0 <= int(item_M.min()) <= int(item_M.max()) < self.num_items:
            raise ValueError("the item-item matrix names an item that there is not")
        if not bool(self.weight_M.isfinite().all()):
            raise ValueError("the item-item matrix has a weight that is not finite")

    def forward(self, histories: HistoryBatch) -> Tensor:
        """Add up the weighted rows of each history's items: float64 [B, I]."""
        bounds = histories.offset_B1.tolist()
        item_N, weight_N = histories.item_index_N, histories.weight_N.double()
        score_BI = weight_N.new_zeros(len(histories), self.num_items)
        add_up = self._added_by_numpy if score_BI.is_cpu else self._added_by_torch
        for row, (start, stop) in enumerate(pairwise(bounds)):
            if stop > start:
                score_BI[row] = add_up(item_N[start:stop], weight_N[start:stop])
        return score_BI

    def _added_by_numpy(self, item_N: Tensor, weight_N: Tensor) -> Tensor:
        """Copy rows together and count them up: no index arithmetic, and no pool of threads.

        At 3,500 items, half of all weights kept, 100 history items this takes 0.4 ms; torch,
        gathering entry by entry, 7 ms, and more yet when other work holds its threads up.
        """
        first_N = self.offset_I1[item_N].tolist()
        stop_N = self.offset_I1[item_N + 1].tolist()
        items, weights = self.item_index_M.numpy(), self.weight_M.numpy()
        rows = [slice(first, stop) for first, stop in zip(first_N, stop_N, strict=True)]
        source_weight_M = np.repeat(weight_N.numpy(), [row.stop - row.start for row in rows])
        vote_M = np.concatenate([weights[row] for row in rows]) * source_weight_M
        item_M = np.concatenate([items[row] for row in rows])
        return torch.from_numpy(np.bincount(item_M, weights=vote_M, minlength=self.num_items))

    def _added_by_torch(self, item_N: Tensor, weight_N: Tensor) -> Tensor:
        start_N = self.offset_I1[item_N]
        length_N = self.offset_I1[item_N + 1] - start_N
        # Entry e of the gathered M' belongs to history entry source_M, at this place of its row.
        source_M = torch.repeat_interleave(length_N)
        first_N = length_N.cumsum(0) - length_N
        entry_M = torch.arange(len(source_M), device=start_N.device) + (start_N - first_N)[source_M]
        vote_M = self.weight_M[entry_M].double() * weight_N[source_M]
        return vote_M.new_zeros(self.num_items).index_add(0, self.item_index_M[entry_M], vote_M)
