"""User-based AutoRec: restore a user's ratings from themselves, and so predict the others.

Sedhain, Menon, Sanner and Xie, "AutoRec: Autoencoders Meet Collaborative Filtering", WWW 2015.
"""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, final

import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from service.autoencoders.base import TrainableAutoencoder, TrainingPass
from service.autoencoders.layers import ACTIVATIONS, Activation, SparseLinear, dropped
from service.autoencoders.rating_scale import RatingScale
from service.histories import HistoryBatch


@final
@dataclass(frozen=True, slots=True)
class AutoRecUserConfig:
    """The shape of a user-based AutoRec: I - latent - I."""

    latent_dim: Annotated[int, Field(ge=1)] = 500
    """D, the hidden layer."""

    activation: Activation = "sigmoid"
    """Behind the hidden layer; the output is linear, which the paper found best."""

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of the ratings that training hides from the input and still asks for."""

    centred: bool = True
    """Whether the input is a rating's distance from the mean, and not the rating as in the paper.

    Centred, ml-100k is predicted better by users (RMSE .930, else .950) and worse by items.
    """

    scale: RatingScale = field(default_factory=RatingScale)
    """Of the ratings in the log."""


@final
class AutoRecUser(TrainableAutoencoder):
    """``latent = g(ratings @ V + b)``, ``score = latent @ W.T + item_bias``: predicted ratings.

    The weight of an entry is its rating. Scores are not clipped to the scale: that would tie the
    best items of a list.
    """

    config: AutoRecUserConfig
    reads_ratings: ClassVar[bool] = True

    def __init__(self, config: AutoRecUserConfig, num_items: int, num_users: int = 0) -> None:
        del num_users  # every architecture is built by the same call; this one has no user rows
        super().__init__(config)
        self.input = SparseLinear(num_items, config.latent_dim)
        self.activation = ACTIVATIONS[config.activation]()
        self.item_vectors_IH = nn.Parameter(torch.empty(num_items, config.latent_dim))
        self.deviation_I = nn.Parameter(torch.zeros(num_items))
        nn.init.xavier_uniform_(self.item_vectors_IH)

    @property
    def item_bias_I(self) -> Tensor:  # type: ignore[override]  # a sum: assigned to by nobody
        """Rating of each item at a code of zeros: the mean, and a deviation that decays to zero."""
        return self.deviation_I + self.config.scale.mean

    @property
    def num_items(self) -> int:
        """I, the size of the catalogue."""
        return len(self.deviation_I)

    @property
    def latent_dim(self) -> int:
        """D, the hidden layer."""
        return self.config.latent_dim

    def gather(self, histories: HistoryBatch) -> Tensor:
        """Run the first layer, gathered_BF."""
        gathered_BF: Tensor = self.input(self._visible(histories))
        return gathered_BF

    def latents(self, gathered_BF: Tensor) -> Tensor:
        """Give the hidden layer, latents_BD.

        A float32 sigmoid rounds other at the end of a vector register than inside: in float64
        a row gets the same code wherever it lies in a batch.
        """
        code_BD: Tensor = self.activation(gathered_BF.double())
        return code_BD.to(self.item_vectors_IH.dtype)

    def training_pass(self, histories: HistoryBatch, generator: Generator) -> TrainingPass:
        """Hide a share of the ratings, encode."""
        visible = dropped(self._visible(histories), self.config.dropout, generator)
        query_BH: Tensor = self.activation(self.input(visible))
        return TrainingPass(query_BH, query_BH.new_zeros(len(histories)))

    def _visible(self, histories: HistoryBatch) -> HistoryBatch:
        if not self.config.centred:
            return histories
        return histories.with_weights(histories.weight_N - self.config.scale.mean)
