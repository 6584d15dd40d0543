"""Reconstruction losses over the full catalogue, per user.

Scores are ``query_BH @ item_vectors_IH.T + item_bias_I``. Two losses sum over all of them in
bounded memory (``catalogue_sum``), one has a closed form, one needs those of observed entries only.
"""

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from service.autoencoders.base import Autoencoder
from service.histories import HistoryBatch
from training.catalogue_sum import LOG_PARTITION, SOFTPLUS_SUM, catalogue_sum
from training.entry_scores import entry_scores

Loss = Callable[[Tensor, Autoencoder, HistoryBatch], Tensor]


def multinomial(query_BH: Tensor, model: Autoencoder, targets: HistoryBatch) -> Tensor:
    """Negative multinomial log-likelihood, -sum_i x_i log softmax(score)_i, [B].

    Liang et al. (2018), equation 2. log softmax = score - logsumexp(score), so only the
    logsumexp needs every item.
    """
    total_weight_B = targets.sum_per_row(targets.weight_N.to(query_BH.dtype))
    return catalogue_sum(LOG_PARTITION, query_BH, model, targets, total_weight_B)


def logistic(query_BH: Tensor, model: Autoencoder, targets: HistoryBatch) -> Tensor:
    """Negative Bernoulli log-likelihood with every absent item as a negative, [B].

    Wu et al. (2016), section 3.1, without sampling. log(1 + e^s) - x s for a binary x: the
    weights of entries do not count here.
    """
    binary = targets.with_weights(torch.ones_like(targets.weight_N))
    return catalogue_sum(SOFTPLUS_SUM, query_BH, model, binary, query_BH.new_ones(len(query_BH)))


def squared(
    query_BH: Tensor, model: Autoencoder, targets: HistoryBatch, unobserved_weight: float = 1.0
) -> Tensor:
    """Squared distance to the binary history, sum_i c_i (score_i - x_i)^2, [B].

    c_i is 1 for the user's own items and ``unobserved_weight`` for all others, as in Hu, Koren
    and Volinsky (2008); the weights of entries do not count here. The sum of all squares is a
    quadratic form in the query: with G = V'V and c = V'b it is q'Gq + 2 q'c + b'b, exactly and
    without one of the B x I scores. It holds H x H numbers however large the catalogue is, and
    costs I H^2 instead of the B I H of blocks: less where a batch has more users than the last
    hidden layer has units.
    """
    vectors_IH, bias_I = model.item_vectors_IH, model.item_bias_I
    through_gram_BH = query_BH @ (vectors_IH.T @ vectors_IH) + 2 * (bias_I @ vectors_IH)
    all_squares_B = (query_BH * through_gram_BH).sum(dim=1) + bias_I.square().sum()
    score_N = entry_scores(query_BH, model, targets)
    own_N = (score_N - 1).square() - unobserved_weight * score_N.square()
    return unobserved_weight * all_squares_B + targets.sum_per_row(own_N)


def masked_squared(
    query_BH: Tensor, model: Autoencoder, targets: HistoryBatch, row_length: float = 1.0
) -> Tensor:
    """Squared error of predicted ratings, over the ratings that are there and no others, [B].

    Sedhain et al. (2015), equation 2, over ``row_length``, the mean number of ratings in a row:
    the mean over rows is then the squared error of a rating, on data of any size.
    """
    error_N = entry_scores(query_BH, model, targets) - targets.weight_N
    return targets.sum_per_row(error_N.square()) / row_length


LOSSES: Final[dict[str, Loss]] = {
    "multinomial": multinomial,
    "logistic": logistic,
    "squared": squared,
}
