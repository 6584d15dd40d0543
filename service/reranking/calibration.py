"""Whether the categories of a list have the shares that they have in a history.

Steck, "Calibrated Recommendations", RecSys 2018.
"""

from typing import Final, final

import numpy as np
from numpy.typing import NDArray

# Of the history's own shares in those of the list: no share of a list is zero (section 3.1).
SMOOTHING: Final = 0.01


@final
class Calibration:
    """The Kullback-Leibler divergence of a growing list's categories from a history's.

    Args:
        weight_G: float64, how much of the history each category is; zeros: it has none.
    """

    def __init__(self, weight_G: NDArray[np.float64]) -> None:
        total = weight_G.sum()
        self._target_G = weight_G / total if total else np.zeros_like(weight_G)
        self._sum_G = np.zeros_like(weight_G)

    def divergence_of(self, share_CG: NDArray[np.float64]) -> NDArray[np.float64]:
        """Tell how far off the list would be with each candidate added, [C] in nats.

        Zero everywhere where the history has no categories.
        """
        listed_CG = self._sum_G + share_CG
        total_C1 = np.maximum(listed_CG.sum(axis=1, keepdims=True), np.finfo(float).tiny)
        smooth_CG = (1 - SMOOTHING) * listed_CG / total_C1 + SMOOTHING * self._target_G
        has_G = self._target_G > 0
        target_G = self._target_G[has_G]
        divergence_C: NDArray[np.float64] = (target_G * np.log(target_G / smooth_CG[:, has_G])).sum(
            axis=1
        )
        return divergence_C

    def add(self, share_G: NDArray[np.float64]) -> None:
        """Put an item on the list."""
        self._sum_G = self._sum_G + share_G
