"""Losses over a sample of the catalogue: a user's own items exactly, all others by a few draws.

One draw of negatives serves the whole batch. The draws are weighted by how often they were to be
expected, so that the sum over them estimates the sum over all items without bias. What is not
sampled is the optimiser: Adam still moves every row of the item matrix in every step.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Self, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn import functional

from service.autoencoders.base import Autoencoder
from service.histories import HistoryBatch
from training.entry_scores import entry_scores
from training.losses import Loss

# Popular items score high in most rows: they make up most of a sum of exponentials. The square
# root is between that and a fair view of the tail (Mikolov et al. 2013 take the power .75).
POPULARITY_POWER: Final = 0.5
# The share drawn from all items alike bounds the weight of any draw.
UNIFORM_SHARE: Final = 0.5


@final
@dataclass(frozen=True, slots=True)
class Negatives:
    """Items drawn for a batch, in ascending order; one may come several times.

    Attributes:
        item_index_M: int64.
        log_expected_M: Log of how many draws of the item were to be expected, float64.
    """

    item_index_M: Tensor
    log_expected_M: Tensor


@final
@dataclass(frozen=True, slots=True)
class Proposal:
    """The distribution that negatives come from: half popularity^.5, half uniform.

    Attributes:
        cumulative_I: Its cumulative probabilities, float64, the last one 1.
        log_probability_I: float64.
    """

    cumulative_I: Tensor
    log_probability_I: Tensor

    @classmethod
    def of(cls, popularity_I: NDArray[np.integer], device: torch.device) -> Self:
        """Build it from the number of users that have each item; at least one has one."""
        popular_I = popularity_I**POPULARITY_POWER
        share_I = (1 - UNIFORM_SHARE) * popular_I / popular_I.sum() + UNIFORM_SHARE / len(popular_I)
        cumulative_I = share_I.cumsum()
        return cls(
            torch.from_numpy(cumulative_I / cumulative_I[-1]).to(device),
            torch.from_numpy(np.log(share_I)).to(device),
        )

    def draw(self, count: int, generator: Generator) -> Negatives:
        """Draw with one random number in each of ``count`` equal parts of the distribution.

        An item's expected number of draws is that of independent draws, count * probability; its
        actual number differs by less than one. Estimates are as unbiased, and less noisy.
        """
        device = generator.device
        noise_M = torch.rand(count, generator=generator, dtype=torch.float64, device=device)
        part_M = torch.arange(count, dtype=torch.float64, device=device)
        item_M = torch.searchsorted(self.cumulative_I, (part_M + noise_M) / count, right=True)
        item_M = item_M.clamp(max=len(self.cumulative_I) - 1)
        return Negatives(item_M, self.log_probability_I[item_M] + np.log(count))


def sampled_multinomial(
    query_BH: Tensor, model: Autoencoder, targets: HistoryBatch, negatives: Negatives
) -> Tensor:
    """``multinomial`` with a sampled partition function, [B].

    Z = sum over own items of e^s + sum over draws of e^(s - log expected). Own items stand in
    Z as they are: they were not drawn, so they get no correction. Z has no bias; log Z is a
    little too small (Jensen) and exact in the limit of many draws.
    """
    score_N = entry_scores(query_BH, model, targets)
    logit_BM = _scores(query_BH, model, negatives) - negatives.log_expected_M.to(query_BH.dtype)
    logit_BM = logit_BM.masked_fill(_collisions(targets, negatives), -torch.inf)
    row_N = targets.row_N
    largest_B = logit_BM.detach().amax(dim=1)
    largest_B = largest_B.scatter_reduce(0, row_N, score_N.detach(), "amax")
    own_B = targets.sum_per_row((score_N - largest_B[row_N]).exp())
    drawn_B = (logit_BM - largest_B[:, None]).exp().sum(dim=1)
    log_partition_B = largest_B + (own_B + drawn_B).log()
    weight_N = targets.weight_N.to(query_BH.dtype)
    return targets.sum_per_row(weight_N * (log_partition_B[row_N] - score_N))


def sampled_logistic(
    query_BH: Tensor, model: Autoencoder, targets: HistoryBatch, negatives: Negatives
) -> Tensor:
    """``logistic`` with its sum over absent items estimated without bias, [B]."""
    own_N = functional.softplus(-entry_scores(query_BH, model, targets))
    absent_BM = functional.softplus(_scores(query_BH, model, negatives))
    absent_BM = absent_BM.masked_fill(_collisions(targets, negatives), 0)
    weight_M = (-negatives.log_expected_M).exp().to(query_BH.dtype)
    return targets.sum_per_row(own_N) + absent_BM @ weight_M


SampledLoss = Callable[[Tensor, Autoencoder, HistoryBatch, Negatives], Tensor]
SAMPLED_LOSSES: Final[Mapping[str, SampledLoss]] = {
    "multinomial": sampled_multinomial,
    "logistic": sampled_logistic,
}


def with_draws(loss: SampledLoss, proposal: Proposal, count: int, generator: Generator) -> Loss:
    """Make a loss that draws ``count`` negatives anew for every batch."""

    def sampled(query_BH: Tensor, model: Autoencoder, targets: HistoryBatch) -> Tensor:
        return loss(query_BH, model, targets, proposal.draw(count, generator))

    return sampled


def _scores(query_BH: Tensor, model: Autoencoder, negatives: Negatives) -> Tensor:
    vectors_MH = functional.embedding(negatives.item_index_M, model.item_vectors_IH)
    return torch.addmm(model.item_bias_I[negatives.item_index_M], query_BH, vectors_MH.T)


def _collisions(targets: HistoryBatch, negatives: Negatives) -> Tensor:
    """Tell which draws are items of the user's own, bool [B, M]."""
    # Draws are sorted: those of an entry's item lie together, mostly none.
    item_N, item_M = targets.item_index_N, negatives.item_index_M
    first_N = torch.searchsorted(item_M, item_N)
    times_N = torch.searchsorted(item_M, item_N, right=True) - first_N
    entry_C = torch.repeat_interleave(times_N)
    rank_C = torch.arange(len(entry_C), device=item_N.device)
    rank_C -= (times_N.cumsum(0) - times_N)[entry_C]
    own_BM = item_N.new_zeros(len(targets), len(item_M), dtype=torch.bool)
    own_BM[targets.row_N[entry_C], first_N[entry_C] + rank_C] = True
    return own_BM
