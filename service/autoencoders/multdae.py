"""Mult-DAE: a denoising autoencoder for the multinomial likelihood.

Liang, Krishnan, Hoffman and Jebara, "Variational Autoencoders for Collaborative Filtering",
WWW 2018 (arXiv:1802.05814), section 2.3.
"""

from dataclasses import dataclass
from typing import Annotated, final

from pydantic import Field
from torch import Generator

from service.autoencoders.base import TrainingPass
from service.autoencoders.layers import dropped, normalized
from service.autoencoders.mirrored import MirroredAutoencoder
from service.histories import HistoryBatch


@final
@dataclass(frozen=True, slots=True)
class MultDAEConfig:
    """The shape of a Mult-DAE: I - hidden - latent - hidden reversed - I."""

    latent_dim: Annotated[int, Field(ge=1)] = 200
    """D, the size of the code."""

    hidden_dims: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Widths of the encoder; the decoder mirrors them. None, as in the paper: I - latent - I."""

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of history entries that training hides."""


@final
class MultDAE(MirroredAutoencoder):
    """Restores a history from a part of it, through tanh layers."""

    config: MultDAEConfig

    def __init__(self, config: MultDAEConfig, num_items: int, num_users: int = 0) -> None:
        del num_users  # every architecture is built by the same call; this one has no user rows
        super().__init__(config, "tanh", num_items)

    def training_pass(self, histories: HistoryBatch, generator: Generator) -> TrainingPass:
        """Normalise, drop entries, encode, decode: in the order of the authors' code."""
        visible = dropped(normalized(histories), self.config.dropout, generator)
        return self.restored(self.code(visible))
