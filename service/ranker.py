"""A model and the retriever that fits it: histories in, ranked lists out, everywhere the same."""

from collections.abc import Sequence
from typing import TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.autoencoders.base import Autoencoder
from service.autoencoders.traversal import Steering, steered
from service.dense_layers import DenseLayers
from service.histories import HistoryBatch
from service.retrieval.base import Retriever, TopK, Wanted
from service.retrieval.certificate import Count, not_counted
from service.retrieval.exact import ExactRetriever
from service.retrieval.item_item import ItemItemRetriever

Scores: TypeAlias = NDArray[np.float64]


def retriever_for(model: Autoencoder, count: Count = not_counted) -> Retriever:
    """Pick how a model's items are found exactly, by the parts that it has."""
    if model.linear is not None and model.item_vectors_IH.shape[1] == 0:
        return ItemItemRetriever(model.linear, model.item_bias_I)
    return ExactRetriever(model.item_vectors_IH, model.item_bias_I, model.linear, count)


@final
class ModelRanker:
    """Runs a model as the service does: no dropout, no sampling, exact retrieval."""

    def __init__(
        self,
        model: Autoencoder,
        retriever: Retriever | None = None,
        layers: DenseLayers | None = None,
    ) -> None:
        self.model = model
        self.retriever = retriever or retriever_for(model)
        self._layers = layers or model

    def encode(self, histories: HistoryBatch) -> Tensor:
        """Fold histories in, latents_BD."""
        return self._layers.latents(self.model.gather(histories))

    @torch.inference_mode()
    def top_k(self, histories: HistoryBatch, wanted: Sequence[Wanted]) -> list[TopK]:
        """Give one list per history; hidden items never come back."""
        histories = histories.to(self.model.item_bias_I.device)
        return self.decode(self.encode(histories), wanted, histories)

    @torch.inference_mode()
    def score(
        self, histories: HistoryBatch, item_index_K: NDArray[np.int64], steer: Steering = ()
    ) -> Scores:
        """Score the same K items for each of B histories, their latents moved; float64 [B, K]."""
        device = self.model.item_bias_I.device
        histories, item_K = histories.to(device), torch.from_numpy(item_index_K).to(device)
        query_BH = self._layers.queries(steered(self.encode(histories), steer)).double()
        score_BK = query_BH @ self.model.item_vectors_IH[item_K].double().T
        score_BK = score_BK + self.model.item_bias_I[item_K]
        if self.model.linear is not None:
            score_BK = score_BK + self.model.linear(histories)[:, item_K]
        return score_BK.cpu().numpy()

    def decode(
        self, latents_BD: Tensor, wanted: Sequence[Wanted], histories: HistoryBatch | None = None
    ) -> list[TopK]:
        """Give one list per latent; a model that keeps histories needs these beside."""
        return self.retriever.top_k(self._layers.queries(latents_BD), wanted, histories)
