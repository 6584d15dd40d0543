"""The basic deep autoencoder: compress a history, restore it.

Hinton and Salakhutdinov, "Reducing the Dimensionality of Data with Neural Networks", Science
2006; dropout on the code as in Kuchaiev and Ginsburg, "Training Deep AutoEncoders for
Collaborative Filtering", 2017 (arXiv:1708.01715).
"""

from dataclasses import dataclass
from typing import Annotated, final

from pydantic import Field
from torch import Generator

from service.autoencoders.base import TrainingPass
from service.autoencoders.layers import Activation, hidden_dropout
from service.autoencoders.mirrored import MirroredAutoencoder
from service.histories import HistoryBatch


@final
@dataclass(frozen=True, slots=True)
class DeepAutoencoderConfig:
    """The shape of a deep autoencoder: I - hidden - latent - hidden reversed - I."""

    latent_dim: Annotated[int, Field(ge=1)] = 200
    """D, the size of the code."""

    hidden_dims: tuple[Annotated[int, Field(ge=1)], ...] = (600,)
    """Widths of the encoder; the decoder mirrors them. None: I - latent - I."""

    activation: Activation = "tanh"
    """Behind every layer but the last, which is linear."""

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of the code that training hides; the input is shown as it is."""


@final
class DeepAutoencoder(MirroredAutoencoder):
    """Sees the whole history and must restore it; a narrow, noisy code keeps it from copying."""

    config: DeepAutoencoderConfig

    def __init__(self, config: DeepAutoencoderConfig, num_items: int, num_users: int = 0) -> None:
        del num_users  # every architecture is built by the same call; this one has no user rows
        super().__init__(config, config.activation, num_items)

    def training_pass(self, histories: HistoryBatch, generator: Generator) -> TrainingPass:
        """Encode, drop a share of the code, decode."""
        code_BD = self.encode(histories)
        return self.restored(hidden_dropout(code_BD, self.config.dropout, generator))
