"""What changes from step to step: the weight of the KL term, and the step of the optimiser.

Steps are counted over all processes of a run: one is a batch, whoever computes its rows.
"""

import math

from training.config import TrainingConfig


def beta_at(step: int, total_steps: int, config: TrainingConfig) -> float:
    """Weight of the KL term at a step, counted from 1, under the schedule of the config.

    A line from 0 to ``beta_cap``, then flat; a cyclical schedule is that line on every one of
    ``cycles`` equal parts of the run.
    """
    if config.beta_schedule == "constant":
        return config.beta_cap
    if config.beta_schedule == "cyclical":  # as far as a run of one cycle would be
        step = (step * config.cycles - 1) % total_steps + 1
    anneal_steps = config.anneal_fraction * total_steps
    return config.beta_cap * min(1.0, step / anneal_steps) if anneal_steps else config.beta_cap


def learning_rate_at(step: int, total_steps: int, config: TrainingConfig) -> float:
    """Step of Adam: ``learning_rate``, under cosine decay falling to 0 at the last step."""
    if config.decay == "none":
        return config.learning_rate
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * step / total_steps))
