"""Full-rank linear autoencoders as they are served: a pruned item-item matrix, no hidden layer."""

from abc import ABC
from typing import Any

import torch
from torch import Tensor, nn

from service.autoencoders.base import Autoencoder
from service.autoencoders.item_item import ItemItem
from service.histories import HistoryBatch


class LinearAutoencoder(Autoencoder, ABC):
    """``score_BI = history_BI @ item_item_II + item_bias_I``; the latent is the history itself.

    The bias is tiny and rises with popularity: it orders items that nothing in a history speaks
    for, and is too small to reorder others.
    """

    linear: ItemItem

    def __init__(self, config: Any, num_items: int, num_weights: int) -> None:  # noqa: ANN401 - each architecture has its own
        super().__init__(config)
        self.item_vectors_IH = nn.Parameter(torch.empty(num_items, 0))
        self.item_bias_I = nn.Parameter(torch.zeros(num_items))
        self.linear = ItemItem(num_items, num_weights)

    @property
    def num_items(self) -> int:
        """I, the size of the catalogue."""
        return len(self.item_bias_I)

    @property
    def latent_dim(self) -> int:
        """D = 0: what the store keeps is the history."""
        return 0

    def gather(self, histories: HistoryBatch) -> Tensor:
        """Give nothing, [B, 0]: there is no hidden layer."""
        return self.item_vectors_IH.new_empty(len(histories), 0)
