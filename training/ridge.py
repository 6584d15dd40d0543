"""Ridge regression on sparse features, its penalty chosen by generalised cross-validation."""

from dataclasses import dataclass
from typing import Final, final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Dense = NDArray[np.float64]

# Penalties tried, relative to the largest eigenvalue: from next to nothing to nearly all.
RELATIVE_PENALTIES: Final = np.logspace(-5, 1, 37)
# Directions that the features hardly vary in say nothing.
SMALLEST_EIGENVALUE: Final = 1e-9


@final
@dataclass(frozen=True, slots=True)
class RidgeFit:
    """A linear map from features to targets.

    Attributes:
        mean_F: Of the features, as weighted.
        mean_H: Of the targets, as weighted.
        coefficient_FH: float64.
        l2: The penalty that was chosen.
        explained: Share of the targets' variance, in cross-validation.
    """

    mean_F: Dense
    mean_H: Dense
    coefficient_FH: Dense
    l2: float
    explained: float

    def predict(self, feature_NF: csr_array) -> Dense:
        """Give targets for N rows of features, [N, H]; a row without any gets the mean."""
        known_N = np.diff(feature_NF.indptr) > 0
        moved_NH = feature_NF @ self.coefficient_FH - self.mean_F @ self.coefficient_FH
        return self.mean_H + known_N[:, None] * moved_NH


@final
class Ridge:
    """``min sum_i w_i |y_i - y_mean - (x_i - x_mean) C|^2 + l2 |C|^2`` for any targets y.

    The eigenvectors of the features' Gram matrix are computed once; every penalty is then a
    division.
    """

    def __init__(self, feature_IF: csr_array, weight_I: Dense) -> None:
        self._weighted_FI = (feature_IF * weight_I[:, None]).T.tocsr()
        self._weight_I = weight_I
        total = weight_I.sum()
        self._mean_F = np.asarray(self._weighted_FI.sum(axis=1)).ravel() / total
        gram_FF = (self._weighted_FI @ feature_IF).toarray()
        gram_FF -= total * np.outer(self._mean_F, self._mean_F)
        eigenvalue_E, vector_FE = np.linalg.eigh(gram_FF)
        kept_E = eigenvalue_E > SMALLEST_EIGENVALUE * max(eigenvalue_E[-1], 1.0)
        self._eigenvalue_E = eigenvalue_E[kept_E]
        self._vector_FE = vector_FE[:, kept_E]

    def fit(self, target_IH: Dense | csr_array) -> RidgeFit:
        """Choose the penalty for these targets and solve; sparse ones are not made dense."""
        total = self._weight_I.sum()
        mean_H = self._weight_I @ target_IH / total
        variance = float(self._weight_I @ _squares(target_IH) - total * mean_H @ mean_H)
        product_FH = _product(self._weighted_FI, target_IH)
        product_FH -= total * np.outer(self._mean_F, mean_H)
        product_EH = self._vector_FE.T @ product_FH
        l2, explained = self._penalty(product_EH, variance)
        product_EH /= (self._eigenvalue_E + l2)[:, None]
        return RidgeFit(self._mean_F, mean_H, self._vector_FE @ product_EH, l2, explained)

    def _penalty(self, product_EH: Dense, variance: float) -> tuple[float, float]:
        """Minimise the generalised cross-validation error (Golub, Heath and Wahba 1979)."""
        rows = np.count_nonzero(self._weight_I)
        if not len(self._eigenvalue_E):
            return 1.0, 0.0
        size_E = np.square(product_EH).sum(axis=1) / self._eigenvalue_E
        penalties = RELATIVE_PENALTIES * self._eigenvalue_E[-1]
        kept_PE = self._eigenvalue_E / (self._eigenvalue_E + penalties[:, None])
        residual_P = variance - (kept_PE * (2 - kept_PE)) @ size_E
        free_P = np.maximum(rows - 1 - kept_PE.sum(axis=1), 1e-9) / rows
        error_P = residual_P / free_P**2
        best = int(np.argmin(error_P))
        explained = 1 - error_P[best] / variance if variance > 0 else 0.0
        return float(penalties[best]), float(explained)


def _squares(target_IH: Dense | csr_array) -> Dense:
    if isinstance(target_IH, csr_array):
        return np.asarray(target_IH.power(2).sum(axis=1), dtype=np.float64).ravel()
    squared_I: Dense = np.square(target_IH).sum(axis=1)
    return squared_I


def _product(weighted_FI: csr_array, target_IH: Dense | csr_array) -> Dense:
    if isinstance(target_IH, csr_array):
        both: csr_array = weighted_FI @ target_IH
        return both.toarray()
    return weighted_FI @ target_IH
