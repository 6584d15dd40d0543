"""RecVAE: a composite prior, a KL weight that grows with the history, alternating updates.

Shenbin, Alekseev, Tutubalina, Malykh and Nikolenko, "RecVAE: a New Variational Autoencoder for
Top-N Recommendations with Implicit Feedback", WSDM 2020 (arXiv:1912.11160).
"""

import copy
import math
from dataclasses import dataclass
from typing import Annotated, Final, final

import torch
from pydantic import Field
from torch import Generator, Tensor, nn
from torch.nn import functional

from service.autoencoders.base import Phase, TrainingPass
from service.autoencoders.layers import SparseLinear, dropped, normalized, xavier_linear
from service.autoencoders.variational import VariationalAutoencoder, drawn, halves
from service.histories import HistoryBatch

# Shares of the prior's parts: N(0, 1), the posterior of the epoch before, and N(0, e^10), which
# keeps the price of a far-away z finite (section 3.3 and the authors' settings).
STANDARD_SHARE: Final = 0.15
EARLIER_SHARE: Final = 0.75
WIDE_SHARE: Final = 0.10
WIDE_LOG_VARIANCE: Final = 10.0
# Large, as the authors have it: the first layer's output is small, and is not to be blown up.
LAYER_NORM_EPSILON: Final = 0.1
ENCODER_PASSES: Final = 3
DECODER_PASSES: Final = 1


@final
@dataclass(frozen=True, slots=True)
class RecVAEConfig:
    """The shape of a RecVAE: I - hidden, several times - latent - I."""

    latent_dim: Annotated[int, Field(ge=1)] = 200
    """D, the size of the posterior and the width of the item matrix."""

    hidden_dim: Annotated[int, Field(ge=1)] = 600
    """Width of every layer of the encoder: each is added to all that follow."""

    num_layers: Annotated[int, Field(ge=1)] = 5
    """Layers of the encoder, the one over the items included."""

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of history entries that the encoder's passes hide; the decoder's hide none."""


@final
class DenseResidualEncoder(nn.Module):
    """``h_n = norm(swish(W_n h_{n-1} + h_1 + ... + h_{n-1}))``, then mean and log-variance."""

    def __init__(self, config: RecVAEConfig, num_items: int) -> None:
        super().__init__()
        width, depth = config.hidden_dim, config.num_layers
        self.input = SparseLinear(num_items, width)
        self.inner = nn.ModuleList(xavier_linear(width, width) for _ in range(depth - 1))
        self.norms = nn.ModuleList(
            nn.LayerNorm(width, eps=LAYER_NORM_EPSILON) for _ in range(depth)
        )
        self.posterior = xavier_linear(width, 2 * config.latent_dim)

    def forward(self, visible: HistoryBatch) -> tuple[Tensor, Tensor]:
        """Give mean_BD and log_variance_BD of entries as they are."""
        return self.dense(self.input(visible))

    def dense(self, gathered_BF: Tensor) -> tuple[Tensor, Tensor]:
        """Run all but the first layer: mean_BD and log_variance_BD."""
        first_norm, *norms = self.norms
        # Frozen, the dense layers are wider than the table of the first layer.
        widened_BH = gathered_BF.to(self.posterior.weight.dtype)
        hidden_BH: Tensor = first_norm(functional.silu(widened_BH))
        sum_BH = hidden_BH
        for layer, norm in zip(self.inner, norms, strict=True):
            hidden_BH = norm(functional.silu(layer(hidden_BH) + sum_BH))
            sum_BH = sum_BH + hidden_BH
        return halves(self.posterior(hidden_BH))


@final
class RecVAE(VariationalAutoencoder):
    """The decoder is the item matrix alone: ``score = z @ V.T + bias``.

    An epoch trains the encoder for three passes against a prior that remembers the posterior as
    it was before them, then the decoder for one. The encoder stands still in between: the copy
    that the prior looks at is taken when the encoder's passes begin and dropped when they end.
    It is neither part of the bundle nor of the state of a run, which is written between epochs.
    """

    config: RecVAEConfig
    item_vectors_IH: nn.Parameter
    item_bias_I: nn.Parameter

    def __init__(self, config: RecVAEConfig, num_items: int, num_users: int = 0) -> None:
        del num_users  # every architecture is built by the same call; this one has no user rows
        super().__init__(config)
        self.encoder = DenseResidualEncoder(config, num_items)
        self.item_vectors_IH = nn.Parameter(torch.empty(num_items, config.latent_dim))
        self.item_bias_I = nn.Parameter(torch.zeros(num_items))
        nn.init.xavier_uniform_(self.item_vectors_IH)
        # In a tuple, torch does not take a module for a part of the model.
        self._earlier: tuple[DenseResidualEncoder, ...] = ()
        self._dropout = config.dropout

    @property
    def gathered_dim(self) -> int:
        """F, the width of the first layer."""
        return self.config.hidden_dim

    @property
    def latent_dim(self) -> int:
        """D, the size of the posterior."""
        return self.config.latent_dim

    def first_layer(self, visible: HistoryBatch) -> Tensor:
        """Run the sparse layer, gathered_BF."""
        gathered_BF: Tensor = self.encoder.input(visible)
        return gathered_BF

    def gaussian_of(self, gathered_BF: Tensor) -> tuple[Tensor, Tensor]:
        """Run the dense layers: mean_BD and log_variance_BD."""
        return self.encoder.dense(gathered_BF)

    def phases(self) -> tuple[Phase, ...]:
        """Alternate: the encoder for three passes, the decoder for one (section 3.5)."""
        return (
            Phase("encoder", ENCODER_PASSES, tuple(self.encoder.parameters())),
            Phase("decoder", DECODER_PASSES, (self.item_vectors_IH, self.item_bias_I)),
        )

    def start_phase(self, name: str) -> None:
        """Take the copy of the encoder and hide entries for its own passes only."""
        encodes = name == "encoder"
        self._earlier = (copy.deepcopy(self.encoder).requires_grad_(False),) if encodes else ()
        self._dropout = self.config.dropout if encodes else 0.0

    def training_pass(self, histories: HistoryBatch, generator: Generator) -> TrainingPass:
        """Drop input entries, draw one latent a user.

        ``regularizer_B`` is the number of the user's items times the estimate
        ``log q(z) - log prior(z)`` of the KL, summed over dimensions: beta is the authors' gamma.
        """
        whole = normalized(histories)
        mean_BD, log_variance_BD = self.gaussian(dropped(whole, self._dropout, generator))
        z_BD = drawn(mean_BD, log_variance_BD, generator)
        # Out of the encoder's passes the earlier posterior and the present one are the same.
        earlier = (mean_BD.detach(), log_variance_BD.detach())
        for encoder in self._earlier:
            with torch.no_grad():
                earlier = encoder(whole)
        log_q_BD = _log_density(z_BD - mean_BD, log_variance_BD)
        kl_B = (log_q_BD - composite_prior(z_BD, *earlier)).sum(dim=1)
        return TrainingPass(z_BD, histories.length_B * kl_B)


def composite_prior(z_BD: Tensor, mean_BD: Tensor, log_variance_BD: Tensor) -> Tensor:
    """Log-density of the three-part prior, a mixture in each dimension, [B, D].

    Less 0.5 log(2 pi), which every Gaussian has and a difference of two loses.

    Args:
        z_BD: Where.
        mean_BD: Of the earlier posterior.
        log_variance_BD: Of the earlier posterior.
    """
    standard_BD = math.log(STANDARD_SHARE) - 0.5 * z_BD.square()
    earlier_BD = math.log(EARLIER_SHARE) + _log_density(z_BD - mean_BD, log_variance_BD)
    wide = torch.full((), WIDE_LOG_VARIANCE, dtype=z_BD.dtype, device=z_BD.device)
    wide_BD = math.log(WIDE_SHARE) + _log_density(z_BD, wide)
    return torch.logsumexp(torch.stack((standard_BD, earlier_BD, wide_BD)), dim=0)


def _log_density(distance_BD: Tensor, log_variance_BD: Tensor) -> Tensor:
    return -0.5 * (distance_BD.square() * torch.exp(-log_variance_BD) + log_variance_BD)
