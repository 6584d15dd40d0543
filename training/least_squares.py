"""The half step of ALS: the best vector of every row, while the vectors of the columns stand."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

# Numbers in the systems of one block, and in the vectors that they are added up from: 32 MB each.
BLOCK_NUMBERS: Final = 8_000_000
# With the exponent of the paper, 1, the best l2 runs from .003 to .03 along with the weight of
# absent items. With a half .2 is best on ml-100k and ml-1m alike, whatever that weight is, and
# the accuracy is the same.
COUNT_EXPONENT: Final = 0.5


@final
@dataclass(frozen=True, slots=True)
class Penalty:
    """What iALS weighs against the squares of the entries.

    Attributes:
        l2: Of a row's squared norm, times ``(entries + absent_weight * columns) ** 0.5``.
        absent_weight: Of the squared score of every cell; an entry has its own weight beside it.
    """

    l2: float
    absent_weight: float


def solve_rows(rows: csr_array, vectors_ID: Tensor, penalty: Penalty) -> Tensor:
    """Minimise the loss over the vectors of the rows, in float32 by Cholesky.

    For row u: ``(a V'V + sum_i w_ui v_i v_i' + l I) x_u = sum_i w_ui v_i`` over its entries i.

    Args:
        rows: float32 [B, I], the weights w.
        vectors_ID: V.
        penalty: a and, with the row's entries, l.

    Returns:
        float32 [B, D]; zeros for a row without entries.
    """
    num_columns, dim = vectors_ID.shape
    common_DD = penalty.absent_weight * (vectors_ID.T @ vectors_ID)
    # One row of zeros more, for the places that shorter rows of a block leave empty.
    padded_ID = torch.cat([vectors_ID, vectors_ID.new_zeros(1, dim)])
    solved_BD = vectors_ID.new_zeros(rows.shape[0], dim)
    for index_B in _blocks(np.diff(rows.indptr), dim):
        item_BN, weight_BN, length_B = _padded(rows[index_B], num_columns)
        vector_BND = padded_ID[item_BN]
        weighted_BDN = (vector_BND * weight_BN[:, :, None]).transpose(1, 2)
        system_BDD = torch.baddbmm(common_DD, weighted_BDN, vector_BND)
        count_B = length_B + penalty.absent_weight * num_columns
        diagonal_BD = system_BDD.diagonal(dim1=1, dim2=2)
        diagonal_BD += (penalty.l2 * count_B**COUNT_EXPONENT)[:, None]
        factor_BDD = torch.linalg.cholesky(system_BDD)
        right_BD1 = weighted_BDN.sum(dim=2)[:, :, None]
        solved_BD[torch.from_numpy(index_B)] = torch.cholesky_solve(right_BD1, factor_BDD)[:, :, 0]
    return solved_BD


def _blocks(length_B: NDArray[np.integer], dim: int) -> Iterator[NDArray[np.int64]]:
    """Cut the rows, shortest first, into blocks of like length that fit ``BLOCK_NUMBERS``."""
    order_B = np.argsort(length_B, kind="stable")
    start = 0
    while start < len(order_B):
        most = max(1, BLOCK_NUMBERS // dim**2)
        ahead_B = length_B[order_B[start : start + most]].astype(np.int64)
        numbers_B = np.arange(1, len(ahead_B) + 1) * ahead_B * dim  # never falling
        stop = start + max(1, int(np.searchsorted(numbers_B, BLOCK_NUMBERS, side="right")))
        yield order_B[start:stop]
        start = stop


def _padded(rows: csr_array, filler: int) -> tuple[Tensor, Tensor, Tensor]:
    """Lay rows out side by side: items and weights [B, longest], and how many entries each has."""
    length_B = np.diff(rows.indptr)
    row_N = np.repeat(np.arange(len(length_B)), length_B)
    place_N = np.arange(len(rows.indices)) - np.repeat(rows.indptr[:-1], length_B)
    shape = (len(length_B), max(1, int(length_B.max())))
    item_BN = np.full(shape, filler, dtype=np.int64)
    weight_BN = np.zeros(shape, dtype=np.float32)
    item_BN[row_N, place_N] = rows.indices
    weight_BN[row_N, place_N] = rows.data
    lengths = torch.from_numpy(length_B.astype(np.float32))
    return torch.from_numpy(item_BN), torch.from_numpy(weight_BN), lengths
