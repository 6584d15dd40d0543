"""A map of items: where each lies in the plane that tells most of them apart."""

from dataclasses import dataclass
from functools import cached_property
from typing import Final, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.catalog import Catalog
from service.device import to_device, to_host

# The plane is laid through the most popular items: a map shows those, and of 600 numbers each they
# take a second or two on a busy core, where a million items would take a minute or two.
MAX_LAID_ITEMS: Final = 20_000
# Items whose vectors are in float64 at once: of 600 numbers each, 20 MB.
BLOCK_ITEMS: Final = 4_096


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Plane:
    """Two axes through the mean of unit vectors, and the share of the variance along each."""

    mean_H: Tensor
    axes_HA: Tensor
    share_A: tuple[float, ...]


@final
class ItemMap:
    """Projects items onto the two main axes of their directions (Pearson 1901).

    Each vector counts at length 1, so that likeness is that of the cosine, as among similar items;
    a vector of zeros stays one. The largest part of each axis is positive: the same model has the
    same map on every machine.

    Safe on any thread. It is best not called on the event loop: the first call reads the vectors
    of ``MAX_LAID_ITEMS`` items.

    Args:
        item_vectors_IH: float32, not copied.
        catalog: Knows which items are popular.
    """

    def __init__(self, item_vectors_IH: Tensor, catalog: Catalog) -> None:
        self._vectors_IH = item_vectors_IH.detach()
        self._catalog = catalog

    @property
    def share_A(self) -> tuple[float, ...]:
        """How much of the variance of the directions each axis has, 0 to 1."""
        return self._plane.share_A

    def places(self, item_N: NDArray[np.int64]) -> NDArray[np.float64]:
        """Tell where items lie, float64 [N, 2]: each coordinate is within -2 to 2."""
        plane = self._plane
        (place,) = to_host((self._directions(item_N) - plane.mean_H) @ plane.axes_HA)
        place_NA: NDArray[np.float64] = place.numpy()
        return place_NA

    @cached_property
    def _plane(self) -> _Plane:
        laid_N = self._catalog.by_popularity_I[:MAX_LAID_ITEMS]
        hidden_dim = self._vectors_IH.shape[1]
        weight_N = torch.from_numpy(self._catalog.popularity_I[laid_N] + 1).double()
        weight_N = to_device(weight_N / weight_N.sum(), self._vectors_IH.device)
        mean_H = weight_N.new_zeros(hidden_dim)
        square_HH = weight_N.new_zeros(hidden_dim, hidden_dim)
        for start in range(0, len(laid_N), BLOCK_ITEMS):
            direction_bH = self._directions(laid_N[start : start + BLOCK_ITEMS])
            weighted_bH = direction_bH * weight_N[start : start + BLOCK_ITEMS, None]
            mean_H += weighted_bH.sum(dim=0)
            square_HH += direction_bH.T @ weighted_bH
        variance_H, axes_HH = torch.linalg.eigh(square_HH - torch.outer(mean_H, mean_H))
        # Ascending, and below zero by rounding where there is no variance. One column of zeros in
        # front: vectors of one number have one axis.
        spread_H = torch.nn.functional.pad(variance_H.clamp(min=0), (1, 0))
        axes_HA = torch.nn.functional.pad(axes_HH, (1, 0))[:, [-1, -2]]
        share_A = spread_H[[-1, -2]] / spread_H.sum().clamp(min=torch.finfo(torch.float64).tiny)
        return _Plane(mean_H, axes_HA * _signs(axes_HA), tuple(share_A.tolist()))

    def _directions(self, item_N: NDArray[np.int64]) -> Tensor:
        index_N = to_device(torch.from_numpy(item_N), self._vectors_IH.device)
        vector_NH = self._vectors_IH[index_N].double()
        return torch.nn.functional.normalize(vector_NH, dim=1)


def _signs(axes_HA: Tensor) -> Tensor:
    """Give the sign of the largest part of each axis, [A]."""
    largest_1A = axes_HA.abs().argmax(dim=0, keepdim=True)
    return axes_HA.gather(0, largest_1A)[0].sign()
