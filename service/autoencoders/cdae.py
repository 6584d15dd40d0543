"""CDAE: a denoising autoencoder with a row of its own for every user.

Wu, DuBois, Zheng and Ester, "Collaborative Denoising Auto-Encoders for Top-N Recommender
Systems", WSDM 2016.
"""

from dataclasses import dataclass
from typing import Annotated, final

import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from service.autoencoders.base import TrainableAutoencoder, TrainingPass
from service.autoencoders.layers import SparseLinear, dropped, normalized
from service.autoencoders.noise import row_noise
from service.histories import HistoryBatch


@final
@dataclass(frozen=True, slots=True)
class CDAEConfig:
    """The shape of a CDAE: I (+ the user's row) - latent - I."""

    latent_dim: Annotated[int, Field(ge=1)] = 200
    """D, the hidden layer; the user's row has this width too."""

    corruption: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of observed entries that training hides; entries that are not there stay so."""

    user_dropout: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of users whose own row training replaces by the unknown user's row."""


@final
class CDAE(TrainableAutoencoder):
    """``latent = tanh(history @ V + user_row + b)``, ``score = latent @ W.T + item_bias``.

    The rule for unknown users: they get ``unknown_row_D``, one row that is trained as the row of
    everybody, since training shows it in place of ``user_dropout`` of the users' own rows. A
    zero or mean row would be an input that the model never saw.
    """

    config: CDAEConfig

    def __init__(self, config: CDAEConfig, num_items: int, num_users: int = 0) -> None:
        super().__init__(config)
        self.input = SparseLinear(num_items, config.latent_dim)
        self.user_rows_UD = nn.Parameter(torch.zeros(num_users, config.latent_dim))
        self.unknown_row_D = nn.Parameter(torch.zeros(config.latent_dim))
        self.item_vectors_IH = nn.Parameter(torch.empty(num_items, config.latent_dim))
        self.item_bias_I = nn.Parameter(torch.zeros(num_items))
        nn.init.xavier_uniform_(self.item_vectors_IH)

    @property
    def num_items(self) -> int:
        """I, the size of the catalogue."""
        return len(self.item_bias_I)

    @property
    def num_users(self) -> int:
        """U, the training users, each with a row."""
        return len(self.user_rows_UD)

    @property
    def latent_dim(self) -> int:
        """D, the hidden layer."""
        return self.config.latent_dim

    def gather(self, histories: HistoryBatch) -> Tensor:
        """Run the first layer; the user's row counts where the user has one, gathered_BF."""
        known_B = histories.user_index_B >= 0
        return self._first(normalized(histories), known_B)

    def latents(self, gathered_BF: Tensor) -> Tensor:
        """Give the hidden layer, latents_BD."""
        return torch.tanh(gathered_BF)

    def training_pass(self, histories: HistoryBatch, generator: Generator) -> TrainingPass:
        """Corrupt the observed entries, hide some users' own rows, encode."""
        visible = dropped(normalized(histories), self.config.corruption, generator)
        chance_B = row_noise(torch.rand, (len(histories),), generator)
        shown_B = chance_B >= self.config.user_dropout
        query_BH = self.latents(self._first(visible, shown_B & (histories.user_index_B >= 0)))
        return TrainingPass(query_BH, query_BH.new_zeros(len(histories)))

    def _first(self, histories: HistoryBatch, known_B: Tensor) -> Tensor:
        row_BD = self.unknown_row_D.expand(len(histories), -1)
        if self.num_users:
            own_BD = self.user_rows_UD[histories.user_index_B.clamp(min=0)]
            row_BD = torch.where(known_B[:, None], own_BD, row_BD)
        first_BD: Tensor = self.input(histories) + row_BD
        return first_BD
