"""Latent traversal: one dimension of a latent is moved, and the lists tell what it stands for."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Dimensions, each once and from 0, with what is added to them.
Steering: TypeAlias = tuple[tuple[int, float], ...]


def traverse(
    latent_D: NDArray[np.float32], dimension: int, offsets: Sequence[float]
) -> NDArray[np.float32]:
    """Copy a latent once an offset, with one dimension moved by it.

    Args:
        latent_D: float32, as the engine gives it for a history.
        dimension: Which one, from 0. Those worth a walk are the first of ``kl_per_dimension``, in
            the manifest of the bundle below ``metrics`` and ``posterior``.
        offsets: In units of the latent: under the prior N(0, 1) most users lie within -3 to 3.

    Returns:
        float32 [B, D], one row an offset, each a latent for the engine; the row of an offset of
        0 is the latent itself.

    Raises:
        IndexError: There is no such dimension.
    """
    if not 0 <= dimension < len(latent_D):
        raise IndexError(f"dimension {dimension} of a latent with {len(latent_D)}")
    latents_BD = np.tile(latent_D, (len(offsets), 1))
    latents_BD[:, dimension] += np.asarray(offsets, dtype=latents_BD.dtype)
    return latents_BD


def steered(latents_BD: Tensor, steering: Steering) -> Tensor:
    """Copy latents with some dimensions moved; without any to move, give them as they are.

    Args:
        latents_BD: Or a single one, [D].
        steering: Offsets as of ``traverse``, added in the type of the latents.

    Raises:
        IndexError: There is no such dimension.
    """
    if not steering:
        return latents_BD
    moved_BD = latents_BD.clone()
    dimensions = [dimension for dimension, _ in steering]
    offset_S = torch.tensor([offset for _, offset in steering]).to(moved_BD)
    moved_BD[..., dimensions] += offset_S
    return moved_BD
