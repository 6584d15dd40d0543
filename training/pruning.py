"""Item-item matrices out of closed forms, pruned to the weights that matter."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self, final

import numpy as np
import torch
from numpy.typing import NDArray

from service.autoencoders.item_item import ItemItem
from training.footprint import MAX_WEIGHTS, SAMPLED_ROWS, block_rows, most_weights
from training.precision import Dense, Precision

# Shares of all weights, from sparse to all of them; the first that is accurate enough is kept.
DENSITIES: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 1.0)


@final
@dataclass(frozen=True, slots=True)
class Loss:
    """What pruning costs validation users, against the matrix with every weight.

    Attributes:
        mean: Of the differences, user by user; negative where the sparse matrix is the better.
        standard_error: Of that mean.
    """

    mean: float
    standard_error: float

    @classmethod
    def between(cls, before_U: Dense, after_U: Dense) -> Self:
        """Compare the same users before and after."""
        difference_U = before_U - after_U
        if not len(difference_U):
            return cls(0.0, 0.0)
        error = float(difference_U.std() / np.sqrt(len(difference_U)))
        return cls(float(difference_U.mean()), error)

    @property
    def at_most(self) -> float:
        """The mean and its standard error together; no credit for a gain.

        A lucky sparse matrix is not taken for a good one: on steam-200k half a percent of EASE's
        weights was .001 better than all of them for 374 validation users, and .006 worse for as
        many test users.
        """
        return max(self.mean, 0.0) + self.standard_error


@final
@dataclass(frozen=True, slots=True)
class Pruned:
    """A sparse item-item matrix, and what it costs.

    Attributes:
        matrix: What is left.
        density: Its share of all I x I weights.
        loss: What leaving the others out costs.
    """

    matrix: ItemItem
    density: float
    loss: Loss


def prune(precision: Precision, loss_of: Callable[[ItemItem], Loss], max_loss: float) -> Pruned:
    """Keep the largest weights of ``B``, as few as cost ``max_loss`` at most.

    One threshold for the whole matrix: an item that many others speak for keeps more weights
    than one that few do. If no density on the ladder is good enough the densest one is kept.

    Args:
        precision: P, from which ``B = I - P / diag(P)``.
        loss_of: What a matrix costs validation users.
        max_loss: What the result may cost, standard error included.
    """
    num_items = len(precision.diagonal_I)
    affordable = min(1.0, MAX_WEIGHTS / num_items**2)
    densities = sorted({min(density, affordable) for density in DENSITIES})
    smallest = _thresholds(precision, densities)
    widest = _above(precision, smallest[-1])
    for threshold in smallest[:-1]:
        pruned = _measured(_without_small(widest, threshold), loss_of)
        if pruned.loss.at_most <= max_loss:
            return pruned
        del pruned  # before the next one is made
    return _measured(widest, loss_of)


def zero_diagonal_rows(precision: Precision, start: int, stop: int) -> Dense:
    """Give rows of ``B = I - P / diag(P)``, whose diagonal is zero (Steck 2019, equation 8)."""
    weights: Dense = precision.rows(start, stop) / -precision.diagonal_I
    weights[np.arange(stop - start), np.arange(start, stop)] = 0
    return weights


def _measured(matrix: ItemItem, loss_of: Callable[[ItemItem], Loss]) -> Pruned:
    return Pruned(matrix, len(matrix.weight_M) / matrix.num_items**2, loss_of(matrix))


def _thresholds(precision: Precision, densities: list[float]) -> NDArray[np.float64]:
    num_items = len(precision.diagonal_I)
    sampled = np.unique(np.linspace(0, num_items - 1, SAMPLED_ROWS).astype(int))
    sizes = np.empty((len(sampled), num_items))
    for place, row in enumerate(sampled.tolist()):
        np.abs(zero_diagonal_rows(precision, row, row + 1)[0], out=sizes[place])
    shares = 1 - np.array(densities)
    thresholds: NDArray[np.float64] = np.quantile(sizes.ravel(), shares, overwrite_input=True)
    return thresholds


def _above(precision: Precision, threshold: float) -> ItemItem:
    num_items = len(precision.diagonal_I)
    column_I = np.arange(num_items, dtype=np.int32)
    step = block_rows(num_items)
    length_I = np.zeros(num_items, dtype=np.int64)
    entries = _Entries(most_weights(num_items))
    for start in range(0, num_items, step):
        block = zero_diagonal_rows(precision, start, min(start + step, num_items))
        kept = _is_large(block, threshold)
        kept &= block != 0
        length_I[start : start + step] = kept.sum(axis=1)
        entries.add(np.broadcast_to(column_I, block.shape)[kept], block[kept])
    offset_I1 = np.concatenate([[0], length_I.cumsum()])
    return ItemItem.of(
        torch.from_numpy(offset_I1),
        torch.from_numpy(entries.item_M[: entries.count]),
        torch.from_numpy(entries.weight_M[: entries.count]),
    )


@final
class _Entries:
    """The entries of a matrix while it is filled.

    Room for all is set aside at once, and what is not used takes no memory: lists of parts would
    be joined in a second copy.
    """

    def __init__(self, room: int) -> None:
        self.item_M = np.empty(room, dtype=np.int32)
        self.weight_M = np.empty(room, dtype=np.float32)
        self.count = 0

    def add(self, item_N: NDArray[np.int32], weight_N: Dense) -> None:
        """Append entries; more than there is room for move all of them."""
        end = self.count + len(item_N)
        if end > len(self.item_M):
            self.item_M = np.concatenate([self.item_M[: self.count], np.empty(end, np.int32)])
            self.weight_M = np.concatenate([self.weight_M[: self.count], np.empty(end, np.float32)])
        self.item_M[self.count : end] = item_N
        self.weight_M[self.count : end] = weight_N
        self.count = end


def _without_small(matrix: ItemItem, threshold: float) -> ItemItem:
    # Numpy throughout: torch picks by an int64 index for every entry that is kept.
    weight_M, offset_I1 = matrix.weight_M.numpy(), matrix.offset_I1.numpy()
    kept_M = _is_large(weight_M, threshold)
    filled = np.flatnonzero(np.diff(offset_I1))
    length_I1 = np.zeros(len(offset_I1), dtype=np.int64)
    length_I1[filled + 1] = np.add.reduceat(kept_M, offset_I1[filled], dtype=np.int64)
    return ItemItem.of(
        torch.from_numpy(length_I1.cumsum()),
        torch.from_numpy(matrix.item_index_M.numpy()[kept_M]),
        torch.from_numpy(weight_M[kept_M]),
    )


def _is_large(weights: NDArray[np.floating], threshold: float) -> NDArray[np.bool_]:
    """Tell which weights are at least so far from zero, without a copy of all sizes."""
    large: NDArray[np.bool_] = weights >= threshold
    large |= weights <= -threshold
    return large
