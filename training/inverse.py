"""The inverse of a symmetric positive definite matrix, written over the matrix itself."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

Dense = NDArray[np.float64]

# Cholesky as LAPACK has it, up to this side: at 29,858 OpenBLAS 0.3.31 was seen to crash.
LARGEST_SIDE: Final = 16_384
# Rows of a product that are held beside the matrix.
ROWS: Final = 1024


def invert(matrix: Dense) -> None:
    """Invert in place; float64, by Cholesky.

    A large matrix is cut in two: with the inverse P of the upper left part A, T = B P and the
    inverse Q of the Schur complement C - T B', the inverse of (A B'; B C) is
    (P + T' Q T, -T' Q; -Q T, Q). All but the halves' own inverses are matrix products; T, a quarter
    of the matrix, is held beside it.

    Args:
        matrix: Both triangles are read and written; columns together (order "F") where it is small
            enough for LAPACK to work in place.

    Raises:
        scipy.linalg.LinAlgError: It is not positive definite.
    """
    side = len(matrix)
    if side <= LARGEST_SIDE:
        _by_cholesky(matrix)
        return
    half = side // 2
    upper, left, lower = matrix[:half, :half], matrix[half:, :half], matrix[half:, half:]
    invert(upper)
    across = left @ upper
    for rows in _rows(side - half):
        lower[rows] -= across[rows] @ left.T
    invert(lower)
    for rows in _rows(side - half):
        left[rows] = -(lower[rows] @ across)
    for rows in _rows(half):
        upper[rows] -= across[:, rows].T @ left
    for rows in _rows(side - half):
        matrix[:half, half:][:, rows] = left[rows].T


def held_beside(side: int) -> int:
    """Tell how many numbers an inversion holds beside its matrix, at its peak."""
    if side <= LARGEST_SIDE:
        return 0
    half = side - side // 2
    return half**2 + max(half**2 + held_beside(half), ROWS * side)


def _by_cholesky(matrix: Dense) -> None:
    factor, info = linalg.lapack.dpotrf(matrix, lower=1, clean=0, overwrite_a=1)
    inverse, info_of_inverse = linalg.lapack.dpotri(factor, lower=1, overwrite_c=1)
    if info or info_of_inverse:
        raise linalg.LinAlgError(f"dpotrf: {info}, dpotri: {info_of_inverse}")
    # LAPACK leaves the upper triangle as it was; mirrored in blocks, no second matrix is needed.
    for rows in _rows(len(matrix)):
        matrix[rows.stop :, rows] = inverse[rows.stop :, rows]
        matrix[rows, rows.stop :] = inverse[rows.stop :, rows].T
        corner = inverse[rows, rows]
        matrix[rows, rows] = np.tril(corner) + np.tril(corner, -1).T


def _rows(count: int) -> list[slice]:
    return [slice(start, min(start + ROWS, count)) for start in range(0, count, ROWS)]
