"""Item-item matrices out of closed forms, pruned to the weights that matter."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self, final

import numpy as np
import torch
from numpy.typing import NDArray

from service.autoencoders.item_item import ItemItem
from training.precision import BLOCK, MAX_WEIGHTS, Dense, Precision

# Shares of all weights, from sparse to all of them; the first that is accurate enough is kept.
DENSITIES: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 1.0)
# Rows from which the size of the smallest weight to keep is read.
SAMPLED_ROWS: Final = 512


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
        matrix = _without_small(widest, threshold)
        loss = loss_of(matrix)
        if loss.at_most <= max_loss:
            return Pruned(matrix, len(matrix.weight_M) / num_items**2, loss)
    return Pruned(widest, len(widest.weight_M) / num_items**2, loss_of(widest))


def zero_diagonal_rows(precision: Precision, start: int, stop: int) -> Dense:
    """Give rows of ``B = I - P / diag(P)``, whose diagonal is zero (Steck 2019, equation 8)."""
    weights = -precision.rows(start, stop) / precision.diagonal_I
    weights[np.arange(stop - start), np.arange(start, stop)] = 0
    return weights


def _thresholds(precision: Precision, densities: list[float]) -> NDArray[np.float64]:
    num_items = len(precision.diagonal_I)
    sampled = np.unique(np.linspace(0, num_items - 1, SAMPLED_ROWS).astype(int))
    sizes = np.concatenate(
        [np.abs(zero_diagonal_rows(precision, row, row + 1)[0]) for row in sampled]
    )
    thresholds: NDArray[np.float64] = np.quantile(sizes, 1 - np.array(densities))
    return thresholds


def _above(precision: Precision, threshold: float) -> ItemItem:
    num_items = len(precision.diagonal_I)
    lengths, items, weights = [], [], []
    for start in range(0, num_items, BLOCK):
        block = zero_diagonal_rows(precision, start, min(start + BLOCK, num_items))
        kept = (np.abs(block) >= threshold) & (block != 0)
        lengths.append(kept.sum(axis=1))
        items.append(np.nonzero(kept)[1].astype(np.int32))
        weights.append(block[kept].astype(np.float32))
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(lengths))])
    return ItemItem.of(
        torch.from_numpy(offsets),
        torch.from_numpy(np.concatenate(items)),
        torch.from_numpy(np.concatenate(weights)),
    )


def _without_small(matrix: ItemItem, threshold: float) -> ItemItem:
    kept_M = matrix.weight_M.abs() >= threshold
    before_M1 = torch.cat([torch.zeros(1, dtype=torch.int64), kept_M.cumsum(0)])
    return ItemItem.of(
        before_M1[matrix.offset_I1], matrix.item_index_M[kept_M], matrix.weight_M[kept_M]
    )
