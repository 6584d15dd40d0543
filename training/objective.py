"""What a run minimises: the loss that its config names, over all items or over a sample."""

from functools import partial

import numpy as np
from scipy.sparse import csr_array
from torch import Generator

from training.config import TrainingConfig
from training.losses import LOSSES, Loss, masked_squared, squared
from training.negatives import SAMPLED_LOSSES, Proposal, SampledObjective


def objective(config: TrainingConfig, rows: csr_array, noise: Generator) -> Loss:
    """Make the loss of a run.

    Args:
        config: Names the loss, the number of negatives, and the weight of absent items.
        rows: [U, I], what is learned from: tells the popularity that negatives are drawn by.
        noise: The generator of the run, the only source of chance; lives where the model does.
    """
    if config.negatives:
        popularity_I = np.bincount(rows.indices, minlength=rows.shape[1])
        proposal = Proposal.of(popularity_I, noise.device)
        return SampledObjective(SAMPLED_LOSSES[config.loss], proposal, config.negatives, noise)
    if config.loss == "squared":
        return partial(squared, unobserved_weight=config.unobserved_weight)
    if config.loss == "masked":
        return partial(masked_squared, row_length=rows.nnz / rows.shape[0])
    return LOSSES[config.loss]
