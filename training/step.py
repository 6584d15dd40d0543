"""A step of training: the loss of a batch, its gradients over all processes, the optimiser."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from service.autoencoders.base import Phase, TrainableAutoencoder
from service.autoencoders.noise import SharedGenerator
from training.batches import Batch, Batches
from training.config import TrainingConfig
from training.distributed import World
from training.errors import TrainingDivergedError
from training.losses import Loss
from training.state import Run
from training.touched_rows import TouchedRows


@final
@dataclass(frozen=True, slots=True)
class Plan:
    """What stays as it is from the first step to the last.

    Attributes:
        config: The run.
        world: The processes that share it.
        batches: Of the training rows.
        steps: What a step runs, by phase.
        touched: Where a step works on the rows that its batch touches alone: what finds them.
    """

    config: TrainingConfig
    world: World
    batches: Batches
    steps: Mapping[str, nn.Module]
    touched: TouchedRows | None


@final
@dataclass(slots=True)
class Sums:
    """Running totals of an epoch, over the rows of its steps in all processes."""

    rows: int = 0
    loss: float = 0.0
    regularizer: float = 0.0
    beta: float = 0.0


@final
class BatchLoss(nn.Module):
    """Runs the noisy pass of a model over a batch, and adds up what the run minimises.

    A module, since that is what several processes average the gradients of.
    """

    def __init__(self, model: TrainableAutoencoder, loss: Loss, noise: SharedGenerator) -> None:
        super().__init__()
        self.model = model
        self._loss = loss
        self._noise = noise

    def forward(self, batch: Batch, beta: float) -> tuple[Tensor, Tensor]:
        """Give the shares of these rows in the batch's mean loss, and in its mean regulariser."""
        self._noise.narrow(batch.rows, batch.entries)
        noisy = self.model.training_pass(batch.histories, self._noise)
        # KL is summed over dimensions and averaged over users, like the likelihood beside it.
        reconstruction_B = noisy.loss_B
        if reconstruction_B is None:
            reconstruction_B = self._loss(noisy.query_BH, self.model, batch.histories)
        loss = (reconstruction_B + beta * noisy.regularizer_B).sum() * batch.share
        return loss, noisy.regularizer_B.detach().sum() * batch.share


def steps_of(loss: BatchLoss, world: World) -> dict[str, nn.Module]:
    """Give for each phase of a model the module whose gradients all processes share, by name."""
    steps: dict[str, nn.Module] = {}
    for phase in loss.model.phases():
        hold_still(loss.model, phase)
        steps[phase.name] = world.parallel(loss)
    return steps


def hold_still(model: TrainableAutoencoder, phase: Phase) -> None:
    """Let gradients reach the parameters of a phase, and no others."""
    model.requires_grad_(requires_grad=False)
    for parameter in phase.parameters:
        parameter.requires_grad = True


def set_learning_rate(run: Run, learning_rate: float) -> None:
    """Give the optimisers of all phases the size of the steps to come."""
    for optimizer in run.optimizers.values():
        for group in optimizer.param_groups:
            group["lr"] = learning_rate


def take_step(run: Run, plan: Plan, batch: Batch, phase: Phase, sums: Sums) -> None:
    """Move the weights of a phase by the gradients of a batch, in all processes alike.

    Args:
        run: Whose weights; ``run.step`` is the number of this one.
        plan: What does not change.
        batch: What this process has of it.
        phase: What is trained.
        sums: Get the loss and the regulariser of the whole batch; tell beta.

    Raises:
        KeyboardInterrupt: One of several processes has heard Ctrl-C.
        TrainingDivergedError: The loss is not finite.
    """
    config, world = plan.config, plan.world
    run.model.zero_grad(set_to_none=True)
    parameters = phase.parameters
    if plan.touched:
        batch = replace(batch, histories=plan.touched.enter(batch.histories))
    own_loss, own_regularizer = plan.steps[phase.name](batch, sums.beta)
    if plan.touched:
        parameters = plan.touched.parameters()
    torch.autograd.backward(own_loss * world.size)  # gradients are averaged over the processes
    clip_grad_norm_(parameters, config.max_grad_norm)
    run.optimizers[phase.name].step()
    loss, regularizer, to_stop = world.totals(
        (own_loss.item(), own_regularizer.item(), world.wish.to_stop)
    )
    if to_stop:
        raise KeyboardInterrupt
    if not math.isfinite(loss):
        raise TrainingDivergedError(
            f"the loss is {loss} in epoch {len(run.reports) + 1}, step {run.step}: "
            f"lower learning_rate ({config.learning_rate:g}) or max_grad_norm"
        )
    sums.rows += batch.rows.whole
    sums.loss += loss * batch.rows.whole
    sums.regularizer += regularizer * batch.rows.whole
