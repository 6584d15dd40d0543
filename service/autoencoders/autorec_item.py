"""Item-based AutoRec: a code for every item out of its ratings, a row of weights for every user.

Sedhain, Menon, Sanner and Xie, "AutoRec: Autoencoders Meet Collaborative Filtering", WWW 2015.
"""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated, ClassVar, Final, final

import torch
from pydantic import Field
from torch import Tensor, nn

from service.autoencoders.base import Autoencoder
from service.autoencoders.layers import Activation
from service.autoencoders.rating_scale import RatingScale
from service.histories import HistoryBatch

# Until validation has chosen one.
ANY_RIDGE: Final = 100.0


@final
@dataclass(frozen=True, slots=True)
class AutoRecItemConfig:
    """The shape of an item-based AutoRec: U - latent - U."""

    latent_dim: Annotated[int, Field(ge=1)] = 500
    """Width of an item's code; a user's row has one number more, its bias."""

    activation: Activation = "sigmoid"
    """Behind the hidden layer; the output is linear, which the paper found best."""

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of the ratings that training hides from the input and still asks for."""

    ridge: Annotated[float, Field(ge=1e-3)] | None = None
    """What holds a folded-in user near the mean one; None: validation chooses."""

    scale: RatingScale = field(default_factory=RatingScale)
    """Of the ratings in the log."""


@final
class AutoRecItem(Autoencoder):
    """``rating = row_user . (code_item, 1) + item_bias``, with rows for latents.

    A user's latent is the row of weights, and the bias at its end, that explains the user's
    ratings by the codes of the items. A posted history is folded in by ridge regression, from the
    mean row of the training users and in closed form:

        row = mean_row + argmin_d |ratings - item_bias - codes (mean_row + d)|^2 + ridge |d|^2

    So it is for everybody. The row that training gave a user is the latent of an empty history of
    theirs, which evaluation asks for beside the fold-in; the service does not, it gives who has no
    history its labelled fallback. A row knows no later ratings, and is no better where there are
    none (validation RMSE on ml-100k .904 by rows and .899 folded in, on ml-1m .836 and .837).
    """

    config: AutoRecItemConfig
    reads_ratings: ClassVar[bool] = True

    def __init__(self, config: AutoRecItemConfig, num_items: int, num_users: int = 0) -> None:
        super().__init__(config)
        row_dim = config.latent_dim + 1
        self.item_vectors_IH = nn.Parameter(torch.empty(num_items, row_dim))
        self.item_bias_I = nn.Parameter(torch.zeros(num_items))
        self.user_rows_UD = nn.Parameter(torch.zeros(num_users, row_dim))
        self.mean_row_D = nn.Parameter(torch.zeros(row_dim))
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
        """D, the width of an item's code and one more for the bias."""
        return self.config.latent_dim + 1

    def gather(self, histories: HistoryBatch) -> Tensor:
        """Fold ratings in, latents_BD; each row by itself, in float64."""
        latents_BD = self._without_history(histories.user_index_B).clone()
        mean_row_D = self.mean_row_D.double()
        item_N = histories.item_index_N
        rating_N = histories.weight_N.double() - self.item_bias_I[item_N].double()
        for row, (first, end) in enumerate(pairwise(histories.offset_B1.tolist())):
            if first < end:
                code_ND = self.item_vectors_IH[item_N[first:end]].double()
                residual_N = rating_N[first:end] - code_ND @ mean_row_D
                change_D = ridge_regression(code_ND, residual_N, self.config.ridge or ANY_RIDGE)
                latents_BD[row] = (mean_row_D + change_D).to(latents_BD.dtype)
        return latents_BD

    def _without_history(self, user_index_B: Tensor) -> Tensor:
        mean_BD = self.mean_row_D.expand(len(user_index_B), -1)
        if not self.num_users:
            return mean_BD
        own_BD = self.user_rows_UD[user_index_B.clamp(min=0)]
        return torch.where(user_index_B[:, None] >= 0, own_BD, mean_BD)


def ridge_regression(input_ND: Tensor, output_N: Tensor, ridge: float) -> Tensor:
    """Solve ``argmin_d |output_N - input_ND d|^2 + ridge |d|^2`` exactly, [D].

    By the smaller of two symmetric systems: D x D, or N x N for fewer examples than dimensions.
    """
    num_examples, dim = input_ND.shape
    if num_examples < dim:
        return input_ND.T @ _solved(input_ND @ input_ND.T, output_N, ridge)
    return _solved(input_ND.T @ input_ND, input_ND.T @ output_N, ridge)


def _solved(gram_KK: Tensor, right_K: Tensor, ridge: float) -> Tensor:
    regular_KK = gram_KK.clone()
    regular_KK.diagonal().add_(ridge)
    factor_KK = torch.linalg.cholesky(regular_KK)
    return torch.cholesky_solve(right_K[:, None], factor_KK)[:, 0]
