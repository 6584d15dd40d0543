"""What autoencoders with a Gaussian posterior share: its two numbers, a draw from it, its KL.

Kingma and Welling, "Auto-Encoding Variational Bayes", ICLR 2014 (arXiv:1312.6114).
"""

from abc import ABC, abstractmethod
from functools import partial
from typing import Final, final

import torch
from torch import Generator, Tensor

from service.autoencoders.base import TrainableAutoencoder
from service.autoencoders.layers import normalized
from service.autoencoders.noise import row_noise
from service.histories import HistoryBatch

# exp() of a log-variance outside this range is 0 or overflows float32 within a few steps.
LOG_VARIANCE_RANGE: Final = (-12.0, 8.0)


class VariationalAutoencoder(TrainableAutoencoder, ABC):
    """Posterior q(z | history) = N(mean, variance), a variance a dimension.

    The latent is the mean, always: nothing is drawn at inference. Who wants to explore draws
    from ``posterior_of`` with ``drawn``.
    """

    @property
    def num_items(self) -> int:
        """I, the size of the catalogue."""
        return len(self.item_bias_I)

    def gather(self, histories: HistoryBatch) -> Tensor:
        """Run the first layer on what is normalised as in training, gathered_BF."""
        return self.first_layer(normalized(histories))

    def latents(self, gathered_BF: Tensor) -> Tensor:
        """Give the posterior mean, latents_BD."""
        return self.gaussian_of(gathered_BF)[0].to(self.item_vectors_IH.dtype)

    def posterior_of(self, histories: HistoryBatch) -> tuple[Tensor, Tensor]:
        """Give mean_BD and log_variance_BD, in the item matrix's dtype.

        The histories are normalised here as in training, and nothing is dropped.
        """
        mean_BD, log_variance_BD = self.gaussian(normalized(histories))
        dtype = self.item_vectors_IH.dtype
        return mean_BD.to(dtype), log_variance_BD.to(dtype)

    def kl_per_dimension(self, histories: HistoryBatch) -> Tensor:
        """Tell how far each dimension is from N(0, 1), kl_D in nats, the mean over B users.

        A dimension near 0 says the same about everybody: the decoder has learned to do without.
        """
        return gaussian_kl(*self.posterior_of(histories)).mean(dim=0)

    @final
    def gaussian(self, visible: HistoryBatch) -> tuple[Tensor, Tensor]:
        """Give mean_BD and log_variance_BD of entries exactly as they are.

        Normalising and dropping is the caller's; the log-variance is clamped.
        """
        return self.gaussian_of(self.first_layer(visible))

    @abstractmethod
    def first_layer(self, visible: HistoryBatch) -> Tensor:
        """Run the layer that reads entries, gathered_BF."""

    @abstractmethod
    def gaussian_of(self, gathered_BF: Tensor) -> tuple[Tensor, Tensor]:
        """Run the layers behind it: mean_BD and log_variance_BD."""


def halves(both_B2D: Tensor) -> tuple[Tensor, Tensor]:
    """Split the output of an encoder into mean_BD and log_variance_BD, the latter clamped."""
    mean_BD, log_variance_BD = both_B2D.chunk(2, dim=1)
    return mean_BD, log_variance_BD.clamp(*LOG_VARIANCE_RANGE)


def drawn(mean_BD: Tensor, log_variance_BD: Tensor, generator: Generator) -> Tensor:
    """Draw z_BD = mean + sigma * noise: gradients reach mean and variance through it."""
    noise_BD = row_noise(partial(torch.randn, dtype=mean_BD.dtype), mean_BD.shape, generator)
    return mean_BD + noise_BD * torch.exp(0.5 * log_variance_BD)


def gaussian_kl(mean_BD: Tensor, log_variance_BD: Tensor) -> Tensor:
    """KL(q || N(0, 1)) of each dimension, [B, D] in nats."""
    return 0.5 * (mean_BD.square() + log_variance_BD.exp() - 1 - log_variance_BD)
