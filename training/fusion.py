"""The weights of a hybrid: how much each parent's score counts, chosen on validation users."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np
import torch
from torch import Tensor

from service.autoencoders.base import Autoencoder
from service.autoencoders.item_item import ItemItem
from service.histories import HistoryBatch
from service.retrieval.base import TopK
from service.retrieval.ranking import rank
from training.data.split import HeldOut
from training.evaluate import blocks, rows_of
from training.metrics import ranking_metrics

# The first deep parent counts 1; the others up to four times that, the linear one from nothing
# to all there is (logits differ by some units, linear scores lie between 0 and 1).
DEEP_WEIGHTS: Final = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
LINEAR_WEIGHTS: Final = (0.0, 2.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 40.0, 80.0, 200.0, 1000.0)


@final
@dataclass(frozen=True, slots=True)
class Fusion:
    """Weights of a sum of scores, and what it is worth.

    Attributes:
        parent_weights: One per deep parent; the first is 1.
        linear_weight: Of the linear parent.
        valid_ndcg: NDCG@100 on validation users.
    """

    parent_weights: tuple[float, ...]
    linear_weight: float
    valid_ndcg: float


@torch.inference_mode()
def choose_weights(parents: Sequence[Autoencoder], linear: ItemItem, valid: HeldOut) -> Fusion:
    """Try every combination of the grids; the best NDCG@100 wins, the smaller weights on a tie.

    A block of users is scored once and its scores are added up under every combination: one pass
    over the models, and one B x I matrix a parent in memory.
    """
    grid = [
        ((1.0, *others), linear_weight)
        for others in itertools.product(DEEP_WEIGHTS, repeat=len(parents) - 1)
        for linear_weight in LINEAR_WEIGHTS
    ]
    lists = [list[TopK]() for _ in grid]
    for histories, wanted in blocks(valid):
        deep = [_scores(parent, histories) for parent in parents]
        linear_BI = linear(histories).float()
        for ranked, (weights, linear_weight) in zip(lists, grid, strict=True):
            score_BI = linear_weight * linear_BI
            for weight, parent_BI in zip(weights, deep, strict=True):
                score_BI += weight * parent_BI
            ranked.extend(rank(score_BI, wanted))
    targets = rows_of(valid.target)
    ndcg = [
        ranking_metrics([top.item_index_K for top in ranked], targets).ndcg_at_100
        for ranked in lists
    ]
    best = int(np.argmax(ndcg))
    return Fusion(*grid[best], valid_ndcg=ndcg[best])


def _scores(model: Autoencoder, histories: HistoryBatch) -> Tensor:
    query_BH = model.queries(model.encode(histories))
    return torch.addmm(model.item_bias_I, query_BH, model.item_vectors_IH.T)
