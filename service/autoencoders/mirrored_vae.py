"""The network of Mult-VAE and beta-VAE: tanh layers, a Gaussian code, the layers in reverse."""

from abc import ABC
from typing import Protocol

import torch
from torch import Generator, Tensor, nn

from service.autoencoders.base import TrainingPass
from service.autoencoders.layers import (
    SparseLinear,
    dropped,
    normalized,
    tanh_stack,
    xavier_linear,
)
from service.autoencoders.variational import VariationalAutoencoder, drawn, gaussian_kl, halves
from service.histories import HistoryBatch


class MirroredVAEConfig(Protocol):
    """The shape: I - hidden - latent - hidden reversed - I."""

    @property
    def latent_dim(self) -> int:
        """D, the size of the posterior."""

    @property
    def hidden_dims(self) -> tuple[int, ...]:
        """Widths of the encoder, one at least; the decoder mirrors them."""

    @property
    def dropout(self) -> float:
        """Share of history entries that training hides."""


class MirroredVAE(VariationalAutoencoder, ABC):
    """Encodes a history of unit norm into a Gaussian, decodes a draw from it."""

    config: MirroredVAEConfig

    def __init__(self, config: MirroredVAEConfig, num_items: int) -> None:
        super().__init__(config)
        first, *inner = config.hidden_dims
        decoder_dims = (config.latent_dim, *reversed(config.hidden_dims))
        self.input = SparseLinear(num_items, first)
        self.encoder = nn.Sequential(nn.Tanh(), tanh_stack((first, *inner)))
        self.posterior = xavier_linear(config.hidden_dims[-1], 2 * config.latent_dim)
        self.decoder = tanh_stack(decoder_dims)
        self.item_vectors_IH = nn.Parameter(torch.empty(num_items, decoder_dims[-1]))
        self.item_bias_I = nn.Parameter(torch.zeros(num_items))
        nn.init.xavier_uniform_(self.item_vectors_IH)

    @property
    def gathered_dim(self) -> int:
        """F, the width of the first layer."""
        return self.config.hidden_dims[0]

    @property
    def latent_dim(self) -> int:
        """D, the size of the posterior."""
        return self.config.latent_dim

    def queries(self, latents_BD: Tensor) -> Tensor:
        """Run the decoder up to its last hidden layer, query_BH."""
        query_BH: Tensor = self.decoder(latents_BD.to(self.posterior.weight.dtype))
        return query_BH.to(self.item_vectors_IH.dtype)

    def training_pass(self, histories: HistoryBatch, generator: Generator) -> TrainingPass:
        """Drop input entries, draw one latent a user, decode it.

        The history is normalised before entries are dropped, as in the code of Liang et al.
        ``regularizer_B`` is KL(q || N(0, 1)), summed over the D dimensions (a mean would make
        it D times too weak).
        """
        visible = dropped(normalized(histories), self.config.dropout, generator)
        mean_BD, log_variance_BD = self.gaussian(visible)
        z_BD = drawn(mean_BD, log_variance_BD, generator)
        kl_BD = gaussian_kl(mean_BD, log_variance_BD)
        return TrainingPass(self.queries(z_BD), kl_BD.sum(dim=1))

    def first_layer(self, visible: HistoryBatch) -> Tensor:
        """Run the sparse layer, gathered_BF."""
        gathered_BF: Tensor = self.input(visible)
        return gathered_BF

    def gaussian_of(self, gathered_BF: Tensor) -> tuple[Tensor, Tensor]:
        """Run the dense layers: mean_BD and log_variance_BD."""
        # Frozen, they are wider than the table of the first layer.
        hidden_BH = self.encoder(gathered_BF.to(self.posterior.weight.dtype))
        return halves(self.posterior(hidden_BH))
