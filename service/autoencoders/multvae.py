"""Mult-VAE: a variational autoencoder with a multinomial likelihood.

Liang, Krishnan, Hoffman and Jebara, "Variational Autoencoders for Collaborative Filtering",
WWW 2018 (arXiv:1802.05814).
"""

from dataclasses import dataclass
from typing import Annotated, final

from pydantic import Field

from service.autoencoders.mirrored_vae import MirroredVAE


@final
@dataclass(frozen=True, slots=True)
class MultVAEConfig:
    """The shape of a Mult-VAE: I - hidden - latent - hidden reversed - I."""

    latent_dim: Annotated[int, Field(ge=1)] = 200
    """D, the size of the posterior."""

    hidden_dims: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (600,)
    """Widths of the encoder; the decoder mirrors them. At least one."""

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of history entries that training hides; too little and the model copies its input."""


@final
class MultVAE(MirroredVAE):
    """Beta climbs from 0 to a cap well below 1 and stays there: a ranking model first."""

    config: MultVAEConfig

    def __init__(self, config: MultVAEConfig, num_items: int, num_users: int = 0) -> None:
        del num_users  # every architecture is built by the same call; this one has no user rows
        super().__init__(config, num_items)
