"""Reconstruction losses over the full catalogue, per user, without a B x I tensor of gradients.

Scores are ``query_BH @ item_vectors_IH.T + item_bias_I``. The sum over all items runs block by
block; with several blocks each is recomputed in the backward pass, so that memory stays at one
block of scores however large the catalogue is. A sum of squares has a closed form instead. The
weighted sum over a user's own entries is one bag.
"""

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from service.autoencoders.base import Autoencoder
from service.histories import HistoryBatch
from training.entry_scores import bag, entry_scores

ITEM_BLOCK: Final = 16_384

Loss = Callable[[Tensor, Autoencoder, HistoryBatch], Tensor]


def multinomial(query_BH: Tensor, model: Autoencoder, targets: HistoryBatch) -> Tensor:
    """Negative multinomial log-likelihood, -sum_i x_i log softmax(score)_i, [B].

    Liang et al. (2018), equation 2. log softmax = score - logsumexp(score), so only the
    logsumexp needs every item.
    """
    log_partition_B = torch.logsumexp(_per_block(_logsumexp, query_BH, model), dim=1)
    total_weight_B = targets.sum_per_row(targets.weight_N.to(query_BH.dtype))
    return total_weight_B * log_partition_B - _weighted_score(query_BH, model, targets)


def logistic(query_BH: Tensor, model: Autoencoder, targets: HistoryBatch) -> Tensor:
    """Negative Bernoulli log-likelihood with every absent item as a negative, [B].

    Wu et al. (2016), section 3.1, without sampling. log(1 + e^s) - x s for a binary x: the
    weights of entries do not count here.
    """
    softplus_B = _per_block(_softplus_sum, query_BH, model).sum(dim=1)
    binary = targets.with_weights(torch.ones_like(targets.weight_N))
    return softplus_B - _weighted_score(query_BH, model, binary)


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


def _weighted_score(query_BH: Tensor, model: Autoencoder, targets: HistoryBatch) -> Tensor:
    """Sum the weighted scores of each user's own entries: sum_n w_n (q . v_n + b_n), [B]."""
    # q . (sum_n w_n v_n): one bag per user, never an N x H gather.
    weight_N = targets.weight_N.to(query_BH.dtype)
    bag_BH = bag(targets.item_index_N, model.item_vectors_IH, targets.offset_B1, weight_N)
    bag_B1 = bag(targets.item_index_N, model.item_bias_I[:, None], targets.offset_B1, weight_N)
    return (query_BH * bag_BH).sum(dim=1) + bag_B1[:, 0]


def _per_block(
    reduce: Callable[[Tensor, Tensor, Tensor], Tensor], query_BH: Tensor, model: Autoencoder
) -> Tensor:
    """Reduce each block of scores to one number a user, [B, blocks]."""
    blocks = list(
        zip(
            torch.split(model.item_vectors_IH, ITEM_BLOCK),
            torch.split(model.item_bias_I, ITEM_BLOCK),
            strict=True,
        )
    )
    if len(blocks) == 1:  # it fits: keeping its scores is cheaper than computing them twice
        return reduce(query_BH, *blocks[0])[:, None]
    parts = [
        checkpoint(reduce, query_BH, *block, use_reentrant=False, preserve_rng_state=False)
        for block in blocks
    ]
    return torch.stack(parts, dim=1)


def _logsumexp(query_BH: Tensor, vectors_IH: Tensor, bias_I: Tensor) -> Tensor:
    return torch.logsumexp(torch.addmm(bias_I, query_BH, vectors_IH.T), dim=1)


def _softplus_sum(query_BH: Tensor, vectors_IH: Tensor, bias_I: Tensor) -> Tensor:
    return functional.softplus(torch.addmm(bias_I, query_BH, vectors_IH.T)).sum(dim=1)
