"""What the plain deep autoencoders share: an encoder, a code, and the same layers in reverse."""

from abc import ABC
from typing import Protocol

import torch
from torch import Tensor, nn

from service.autoencoders.base import TrainableAutoencoder, TrainingPass
from service.autoencoders.layers import (
    ACTIVATIONS,
    Activation,
    SparseLinear,
    activated_stack,
    normalized,
)
from service.histories import HistoryBatch


class MirroredConfig(Protocol):
    """The shape of a mirrored autoencoder: I - hidden - latent - hidden reversed - I."""

    @property
    def latent_dim(self) -> int:
        """D, the size of the code."""

    @property
    def hidden_dims(self) -> tuple[int, ...]:
        """Widths of the encoder; the decoder mirrors them. None: I - latent - I."""


class MirroredAutoencoder(TrainableAutoencoder, ABC):
    """Compresses a history of unit norm into a code and restores it.

    The latent is the code behind its activation. The decoder's last layer is the item matrix:
    ``queries`` ends one layer before it, and without hidden layers that is the code itself.
    """

    config: MirroredConfig

    def __init__(self, config: MirroredConfig, activation: Activation, num_items: int) -> None:
        super().__init__(config)
        dims = (*config.hidden_dims, config.latent_dim)
        self.input = SparseLinear(num_items, dims[0])
        self.activation = ACTIVATIONS[activation]()
        self.encoder = activated_stack(dims, activation)
        self.decoder = activated_stack(dims[::-1], activation)
        self.item_vectors_IH = nn.Parameter(torch.empty(num_items, dims[0]))
        self.item_bias_I = nn.Parameter(torch.zeros(num_items))
        nn.init.xavier_uniform_(self.item_vectors_IH)

    @property
    def num_items(self) -> int:
        """I, the size of the catalogue."""
        return len(self.item_bias_I)

    @property
    def gathered_dim(self) -> int:
        """F, the width of the first layer."""
        return (*self.config.hidden_dims, self.config.latent_dim)[0]

    @property
    def latent_dim(self) -> int:
        """D, the size of the code."""
        return self.config.latent_dim

    def gather(self, histories: HistoryBatch) -> Tensor:
        """Run the first layer, gathered_BF."""
        gathered_BF: Tensor = self.input(normalized(histories))
        return gathered_BF

    def latents(self, gathered_BF: Tensor) -> Tensor:
        """Give the code of each history, latents_BD."""
        hidden_BH = self.activation(self._widened(gathered_BF))
        code_BD: Tensor = self.encoder(hidden_BH)
        return code_BD.to(self.item_vectors_IH.dtype)

    def queries(self, latents_BD: Tensor) -> Tensor:
        """Run the decoder up to its last hidden layer, query_BH."""
        query_BH: Tensor = self.decoder(self._widened(latents_BD))
        return query_BH.to(self.item_vectors_IH.dtype)

    def code(self, visible: HistoryBatch) -> Tensor:
        """Encode entries exactly as they are, latents_BD: normalising is the caller's."""
        return self.latents(self.input(visible))

    def restored(self, code_BD: Tensor) -> TrainingPass:
        """Decode a code for the loss; nothing is regularised here."""
        return TrainingPass(self.queries(code_BD), code_BD.new_zeros(len(code_BD)))

    def _widened(self, value_BH: Tensor) -> Tensor:
        # Frozen, the dense layers are wider than the tables; there may be no dense layer at all.
        widest = next(self.decoder.parameters(), self.item_vectors_IH)
        return value_BH.to(widest.dtype)
