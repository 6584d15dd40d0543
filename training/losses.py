"""Reconstruction losses over the full catalogue, per user, without a B x I tensor of gradients.

Scores are ``query_BH @ item_vectors_IH.T + item_bias_I``. The sum over all items runs block by
block; with several blocks each is recomputed in the backward pass, so that memory stays at one
block of scores however large the catalogue is. The sum over a user's own entries is one bag.
"""

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from service.autoencoders.base import Autoencoder
from service.histories import HistoryBatch

ITEM_BLOCK: Final = 16_384

Loss = Callable[[Tensor, Autoencoder, HistoryBatch], Tensor]


def multinomial(query_BH: Tensor, model: Autoencoder, targets: HistoryBatch) -> Tensor:
    """Negative multinomial log-likelihood, -sum_i x_i log softmax(score)_i, [B].

    Liang et al. (2018), equation 2. log softmax = score - logsumexp(score), so only the
    logsumexp needs every item.
    """
    log_partition_B = torch.logsumexp(_per_block(_logsumexp, query_BH, model), dim=1)
    total_weight_B = targets.sum_per_row(targets.weight_N)
    return total_weight_B * log_partition_B - _entry_scores(query_BH, model, targets)


def logistic(query_BH: Tensor, model: Autoencoder, targets: HistoryBatch) -> Tensor:
    """Negative Bernoulli log-likelihood with every absent item as a negative, [B].

    Wu et al. (2016), section 3.1, without sampling. log(1 + e^s) - x s for a binary x: the
    weights of entries do not count here.
    """
    softplus_B = _per_block(_softplus_sum, query_BH, model).sum(dim=1)
    binary = targets.with_weights(torch.ones_like(targets.weight_N))
    return softplus_B - _entry_scores(query_BH, model, binary)


LOSSES: Final[dict[str, Loss]] = {"multinomial": multinomial, "logistic": logistic}


def _entry_scores(query_BH: Tensor, model: Autoencoder, targets: HistoryBatch) -> Tensor:
    """Sum the weighted scores of each user's own entries: sum_n w_n (q . v_n + b_n), [B]."""
    # q . (sum_n w_n v_n): one bag per user, never an N x H gather.
    bag_BH = _bag(model.item_vectors_IH, targets)
    bag_B1 = _bag(model.item_bias_I[:, None], targets)
    return (query_BH * bag_BH).sum(dim=1) + bag_B1[:, 0]


def _bag(table_IH: Tensor, targets: HistoryBatch) -> Tensor:
    return functional.embedding_bag(
        targets.item_index_N,
        table_IH,
        targets.offset_B1,
        mode="sum",
        per_sample_weights=targets.weight_N.to(table_IH.dtype),
        include_last_offset=True,
    )


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
