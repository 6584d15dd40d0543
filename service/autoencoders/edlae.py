"""EDLAE: a linear denoising autoencoder in closed form, its input dropped out in expectation.

Steck, "Autoencoders that don't overfit towards the Identity", NeurIPS 2020.
"""

from dataclasses import dataclass
from typing import Annotated, final

from pydantic import Field

from service.autoencoders.linear import LinearAutoencoder


@final
@dataclass(frozen=True, slots=True)
class EdlaeConfig:
    """How an EDLAE is regularised, and how much of it pruning left."""

    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Share p of the input that training hides, in expectation; None: chosen on validation."""

    l2: Annotated[float, Field(gt=0)] | None = None
    """Weight of the squared item-item weights beside it; None: chosen on validation users."""

    pruning_loss: Annotated[float, Field(ge=0)] = 1e-3
    """NDCG@100 that pruning may cost validation users, standard error included."""

    num_weights: Annotated[int, Field(ge=0)] = 0
    """M, the entries that pruning left; the fit fills it in."""


@final
class Edlae(LinearAutoencoder):
    """``B = I - P / diag(P)``, ``P = (X'X + p / (1 - p) diag(X'X) + l2 I)^-1``.

    Popular items are regularised more than rare ones, which EASE treats alike.
    """

    config: EdlaeConfig

    def __init__(self, config: EdlaeConfig, num_items: int, num_users: int = 0) -> None:
        del num_users  # every architecture is built by the same call; this one has no user rows
        super().__init__(config, num_items, config.num_weights)
