"""beta-VAE: a variational autoencoder whose KL weight is the point of it.

Higgins et al., "beta-VAE: Learning Basic Visual Concepts with a Constrained Variational
Framework", ICLR 2017; here with Mult-VAE's network and multinomial likelihood.
"""

from dataclasses import dataclass
from typing import Annotated, final

from pydantic import Field

from service.autoencoders.mirrored_vae import MirroredVAE


@final
@dataclass(frozen=True, slots=True)
class BetaVAEConfig:
    """The shape of a beta-VAE: I - hidden - latent - hidden reversed - I."""

    latent_dim: Annotated[int, Field(ge=1)] = 200
    """D, the size of the posterior; a large beta leaves most of it unused."""

    hidden_dims: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (600,)
    """Widths of the encoder; the decoder mirrors them. At least one."""

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of history entries that training hides; too little and the model copies its input."""


@final
class BetaVAE(MirroredVAE):
    """Few dimensions carry what there is to say of a user, each apart from the others.

    Beta is no part of the model but of its training: ``beta_schedule``, ``beta_cap`` and what
    goes with them. Dimensions can be walked along: see ``service.autoencoders.traversal``.
    """

    config: BetaVAEConfig

    def __init__(self, config: BetaVAEConfig, num_items: int, num_users: int = 0) -> None:
        del num_users  # every architecture is built by the same call; this one has no user rows
        super().__init__(config, num_items)
