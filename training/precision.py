"""Inverses of regularised Gram matrices, the core of EASE and EDLAE, by the smaller of two ways.

``P = (X'X + diag(d))^-1`` of a user x item matrix X. With fewer items than users it is inverted
as it stands; with fewer users, Woodbury's identity ``P = D - D X' (I + X D X')^-1 X D``, D =
diag(1/d), needs the inverse of a user x user matrix only, and never holds an item x item one.
Float64 throughout, by Cholesky: half the work of a general inverse, and twice the digits. One
dense matrix is held, filled in blocks and inverted in its place; ``training.footprint`` counts
what there is beside.
"""

from typing import Protocol, final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array

from training.footprint import block_rows, refuse_if_too_large
from training.inverse import invert

Dense = NDArray[np.float64]
Sparse = csr_array | csc_array


class Precision(Protocol):
    """P, without a promise that it is ever written out."""

    diagonal_I: Dense

    def times(self, history_BI: csr_array) -> Dense:
        """Give ``history @ P``, [B, I]."""

    def rows(self, start: int, stop: int) -> Dense:
        """Give rows ``start`` to ``stop`` of P, not to be written to."""


@final
class ItemPrecision:
    """P itself, [I, I]."""

    def __init__(self, train: csr_array, regularizer_I: Dense) -> None:
        self._precision_II = _inverse(train.T, train, regularizer_I)
        self.diagonal_I = self._precision_II.diagonal().copy()

    def times(self, history_BI: csr_array) -> Dense:
        """Give ``history @ P``, [B, I]."""
        product: Dense = history_BI @ self._precision_II
        return product

    def rows(self, start: int, stop: int) -> Dense:
        """Give rows ``start`` to ``stop`` of P."""
        return self._precision_II[start:stop]


@final
class UserPrecision:
    """P through the inverse of ``I + X D X'``, [U, U]."""

    def __init__(self, train: csr_array, regularizer_I: Dense) -> None:
        self._train = train
        self._inverse_I = 1 / regularizer_I
        # X D, of which X D X' is half the way.
        self._scaled = csr_array(train.multiply(self._inverse_I[None, :]))
        self._by_item = csr_array(train.T)
        self._kernel_UU = _inverse(self._scaled, train.T, np.ones(train.shape[0]))
        self.diagonal_I = self._inverse_I - self._inverse_I**2 * self._quadratic_I()

    def _quadratic_I(self) -> Dense:
        """Give ``x_i' K x_i`` of every item's column, block by block."""
        num_items, num_users = self._by_item.shape
        step = block_rows(num_users)
        parts = []
        for start in range(0, num_items, step):
            block = self._by_item[start : start + step]
            parts.append(np.asarray(block.multiply(block @ self._kernel_UU).sum(axis=1)).ravel())
        return np.concatenate(parts)

    def times(self, history_BI: csr_array) -> Dense:
        """Give ``history @ P``, [B, I]."""
        scaled = csr_array(history_BI.multiply(self._inverse_I[None, :]))
        product: Dense = ((scaled @ self._by_item) @ self._kernel_UU) @ self._scaled
        # scaled - product, in the place of the product: a block is large.
        np.negative(product, out=product)
        entries = scaled.tocoo()
        np.add.at(product, (entries.row, entries.col), entries.data)
        return product

    def rows(self, start: int, stop: int) -> Dense:
        """Give rows ``start`` to ``stop`` of P."""
        num_items = self._train.shape[1]
        ones = np.ones(stop - start)
        here = (np.arange(stop - start), np.arange(start, stop))
        return self.times(csr_array((ones, here), shape=(stop - start, num_items)))


def precision(train: csr_array, regularizer_I: Dense) -> Precision:
    """Invert ``X'X + diag(regularizer)`` by the cheaper way.

    Raises:
        BadInputError: It does not fit into memory.
    """
    num_users, num_items = train.shape
    refuse_if_too_large(train)
    train = train.astype(np.float64)
    if num_users < num_items:
        return UserPrecision(train, regularizer_I)
    return ItemPrecision(train, regularizer_I)


def _inverse(left: Sparse, right: Sparse, regularizer: Dense) -> Dense:
    """Invert ``left @ right + diag(regularizer)``, symmetric and positive definite."""
    side = len(regularizer)
    matrix = np.empty((side, side), order="F")  # as LAPACK wants it: it then works in place
    columns = csc_array(right)
    step = block_rows(side)
    for start in range(0, side, step):
        stop = start + step
        matrix[:, start:stop] = (left @ columns[:, start:stop]).toarray()
    np.einsum("ii->i", matrix)[:] += regularizer
    invert(matrix)
    return matrix.T  # the same numbers, row after row: products with sparse rows copy nothing
