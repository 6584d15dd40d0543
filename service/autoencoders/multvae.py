"""Mult-VAE: a variational autoencoder with a multinomial likelihood.

Liang, Krishnan, Hoffman and Jebara, "Variational Autoencoders for Collaborative Filtering",
WWW 2018 (arXiv:1802.05814).
"""

from dataclasses import dataclass
from typing import Annotated, final

import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from service.autoencoders.base import TrainableAutoencoder, TrainingPass
from service.autoencoders.layers import (
    SparseLinear,
    dropped,
    normalized,
    tanh_stack,
    xavier_linear,
)
from service.histories import HistoryBatch

# exp() of a log-variance outside this range is 0 or overflows float32 within a few steps.
LOG_VARIANCE_RANGE = (-12.0, 8.0)


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
class MultVAE(TrainableAutoencoder):
    """Posterior q(z | history) = N(mean, variance); the mean alone is used at inference."""

    config: MultVAEConfig

    def __init__(self, config: MultVAEConfig, num_items: int, num_users: int = 0) -> None:
        super().__init__(config)
        del num_users  # every architecture is built by the same call; this one has no user rows
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
    def num_items(self) -> int:
        """I, the size of the catalogue."""
        return len(self.item_bias_I)

    @property
    def latent_dim(self) -> int:
        """D, the size of the posterior."""
        return self.config.latent_dim

    def encode(self, histories: HistoryBatch) -> Tensor:
        """Give the posterior mean, latents_BD."""
        mean_BD, _ = self._posterior(normalized(histories))
        return mean_BD.to(self.item_vectors_IH.dtype)

    def queries(self, latents_BD: Tensor) -> Tensor:
        """Run the decoder up to its last hidden layer, query_BH."""
        query_BH: Tensor = self.decoder(latents_BD.to(self.posterior.weight.dtype))
        return query_BH.to(self.item_vectors_IH.dtype)

    def training_pass(self, histories: HistoryBatch, generator: Generator) -> TrainingPass:
        """Drop input entries, draw one latent a user, decode it.

        The history is normalised before entries are dropped, as in the authors' code.
        ``regularizer_B`` is KL(q || N(0, 1)), summed over the D dimensions (a mean would make
        it D times too weak).
        """
        visible = dropped(normalized(histories), self.config.dropout, generator)
        mean_BD, log_variance_BD = self._posterior(visible)
        noise_BD = torch.randn(mean_BD.shape, generator=generator, device=generator.device)
        z_BD = mean_BD + noise_BD * torch.exp(0.5 * log_variance_BD)
        kl_BD = 0.5 * (mean_BD.square() + log_variance_BD.exp() - 1 - log_variance_BD)
        return TrainingPass(self.queries(z_BD), kl_BD.sum(dim=1))

    def _posterior(self, histories: HistoryBatch) -> tuple[Tensor, Tensor]:
        # Frozen, the dense layers are wider than the table of the first layer.
        hidden_BH = self.encoder(self.input(histories).to(self.posterior.weight.dtype))
        mean_BD, log_variance_BD = self.posterior(hidden_BH).chunk(2, dim=1)
        return mean_BD, log_variance_BD.clamp(*LOG_VARIANCE_RANGE)
