"""EASE: the linear autoencoder with a zero diagonal, in closed form.

Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019 (arXiv:1905.03375).
"""

from dataclasses import dataclass
from typing import Annotated, final

from pydantic import Field

from service.autoencoders.linear import LinearAutoencoder


@final
@dataclass(frozen=True, slots=True)
class EaseConfig:
    """How an EASE is regularised, and how much of it pruning left."""

    l2: Annotated[float, Field(gt=0)] | None = None
    """Weight of the squared item-item weights; None: chosen on validation users."""

    pruning_loss: Annotated[float, Field(ge=0)] = 1e-3
    """NDCG@100 that pruning may cost validation users, standard error included."""

    num_weights: Annotated[int, Field(ge=0)] = 0
    """M, the entries that pruning left; the fit fills it in."""


@final
class Ease(LinearAutoencoder):
    """``B = I - P / diag(P)``, ``P = (X'X + l2 I)^-1``."""

    config: EaseConfig

    def __init__(self, config: EaseConfig, num_items: int, num_users: int = 0) -> None:
        del num_users  # every architecture is built by the same call; this one has no user rows
        super().__init__(config, num_items, config.num_weights)
