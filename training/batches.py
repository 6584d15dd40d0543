"""The batches of a pass over the training users, and the rows of each that a process computes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array

from service.autoencoders.noise import Part
from service.histories import HistoryBatch


@final
@dataclass(frozen=True, slots=True)
class Batch:
    """What one process has of a batch that all share.

    Attributes:
        histories: Its rows, at least one.
        rows: Which of the batch's rows they are.
        entries: Which of the batch's entries they have.
        counts: Whether the rows count; those that stand in for none do not.
    """

    histories: HistoryBatch
    rows: Part
    entries: Part
    counts: bool = True

    @property
    def share(self) -> float:
        """The weight of one of the rows in the mean over the whole batch."""
        return self.counts / self.rows.whole


@final
@dataclass(frozen=True, slots=True)
class Batches:
    """Gives batches of users, in an order drawn by chance, to the owners of the users.

    A process computes the rows of its own users alone and never reads the others': their number
    in a batch differs from process to process, by a share of about 1 / sqrt(rows of a process).

    Attributes:
        rows: float32 [U, I], the training rows of all processes.
        shard: The users of this process.
        size: Users in a batch, those of all processes together.
        device: Where the histories go.
    """

    rows: csr_array
    shard: slice
    size: int
    device: torch.device

    def drawn(self, order: torch.Generator) -> Iterator[Batch]:
        """Go over all users once; processes with equal generators get parts of the same batches."""
        order_U = torch.randperm(self.rows.shape[0], generator=order).numpy()
        for start in range(0, len(order_U), self.size):
            # Ascending within the batch: rows are gathered in the order they lie in memory, and
            # those of a process are neighbours.
            yield self._own(np.sort(order_U[start : start + self.size]))

    def _own(self, index_B: NDArray[np.int64]) -> Batch:
        start, stop = np.searchsorted(index_B, (self.shard.start, self.shard.stop)).tolist()
        counts = start < stop
        if not counts:  # of a small batch a process may have none, and still has to keep step
            start, stop = 0, 1
        own = index_B[start:stop]
        drawn = self.rows[own]
        histories = HistoryBatch.from_csr(drawn.indptr, drawn.indices, drawn.data, own)
        length_B = self.rows.indptr[index_B + 1] - self.rows.indptr[index_B]
        before = int(length_B[:start].sum())
        return Batch(
            histories.to(self.device),
            Part(start, stop, len(index_B)),
            Part(before, before + drawn.nnz, int(length_B.sum())),
            counts,
        )
