"""The training loop: epochs, annealing, validation, early stopping, resume.

Knows nothing of files to read, of bundles to write or of the terminal.
"""

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, final, runtime_checkable

import numpy as np
import torch
from scipy.sparse import csr_array
from torch.nn.utils import clip_grad_norm_

from service.autoencoders.base import Autoencoder, Phase, TrainableAutoencoder
from service.checkpoint import build_model
from service.device import pick_device
from service.histories import HistoryBatch
from training.config import TrainingConfig
from training.errors import TrainingDivergedError
from training.objective import objective
from training.state import EpochReport, Run, load_state, save_state
from training.task import Task

# Share of the time that writing the state may take: it is written after the first epoch, and
# then as often as this allows. An interruption loses what came after.
SAVE_SHARE: Final = 0.05


class Watcher(Protocol):
    """Sees training as it goes; the progress bar is one."""

    def on_step(self, users: float) -> None:
        """Hear that a step over so many users is done; an epoch adds up to all of them."""

    def on_epoch(self, report: EpochReport, best_epoch: int) -> None:
        """Hear that an epoch is done."""


@runtime_checkable
class PartsWatcher(Watcher, Protocol):
    """A watcher that wants to know which of several models is trained."""

    def on_part(self, name: str, epochs: int) -> None:
        """Hear which model the steps and epochs to come are of, and how many there are at most."""


@final
@dataclass(frozen=True, slots=True)
class Resumable:
    """Where a run keeps its state, and under which identity."""

    directory: Path
    fingerprint: str
    resume: bool


@final
@dataclass(slots=True)
class _Sums:
    """Running totals of an epoch, over the rows of its steps."""

    rows: int = 0
    loss: float = 0.0
    regularizer: float = 0.0
    beta: float = 0.0


@final
@dataclass(frozen=True, slots=True)
class TrainingResult:
    """A trained model, with the weights of its best epoch, and how it got there.

    Attributes:
        model: Frozen.
        reports: One per epoch; none without epochs.
        best_epoch: The epoch with the best validation NDCG@100, or RMSE of ratings.
        interrupted: Whether Ctrl-C ended the run early.
        seconds: Training and validation together, interruptions left out.
        users_per_second: Over the training steps.
        facts: What else there is to tell, by name: what validation chose, what pruning cost.
        parent_reports: Of a model made of several that have epochs, the reports of each by name.
    """

    model: Autoencoder
    reports: tuple[EpochReport, ...]
    best_epoch: int
    interrupted: bool
    seconds: float
    users_per_second: float
    facts: Mapping[str, Any] = field(default_factory=dict)
    parent_reports: Mapping[str, tuple[EpochReport, ...]] = field(default_factory=dict)


def train(
    config: TrainingConfig, task: Task, watcher: Watcher, resumable: Resumable | None = None
) -> TrainingResult:
    """Train a model by gradients; the same config, data and thread count give the same numbers.

    Args:
        config: The run.
        task: What to learn from, and what chooses the epoch.
        watcher: Told of every step and epoch.
        resumable: Where to keep the state, if anywhere.

    Raises:
        TrainingDivergedError: The loss is no longer finite.
        KeyboardInterrupt: Ctrl-C before the first epoch was done; later it ends the run.
    """
    run = _start(config, task)
    if resumable is not None and resumable.resume:
        load_state(run, resumable.fingerprint, resumable.directory)
    interrupted = False
    next_save_s = 0.0
    try:
        while not _finished(run, config):
            report = _epoch(run, config, task, watcher)
            run.note(report, task.merit(report.valid))
            watcher.on_epoch(run.reports[-1], run.best_epoch)
            if resumable is not None and time.monotonic() >= next_save_s:
                next_save_s = _save(run, resumable)
    except KeyboardInterrupt:
        if not run.reports:
            raise
        interrupted = True
    return _result(run, task, interrupted=interrupted)


def _save(run: Run, resumable: Resumable) -> float:
    """Write the state; tell when it may be written again."""
    started_s = time.monotonic()
    save_state(run, resumable.fingerprint, resumable.directory)
    ended_s = time.monotonic()
    return ended_s + (ended_s - started_s) / SAVE_SHARE


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


def _start(config: TrainingConfig, task: Task) -> Run:
    device = pick_device(config.device)
    if config.threads:
        torch.set_num_threads(config.threads)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        num_users, num_items = task.rows.shape
        model = build_model(config.model, config.architecture, num_items, num_users).to(device)
    if not isinstance(model, TrainableAutoencoder):
        raise TypeError(f"{config.model} has a closed form; gradients do not train it")
    noise = torch.Generator(device).manual_seed(config.seed)
    return Run(
        model=model,
        loss=objective(config, task.rows, noise),
        optimizers={phase.name: _optimizer(phase, config) for phase in model.phases()},
        order=torch.Generator().manual_seed(config.seed),
        noise=noise,
    )


def _optimizer(phase: Phase, config: TrainingConfig) -> torch.optim.Optimizer:
    return torch.optim.Adam(
        phase.parameters, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )


def _finished(run: Run, config: TrainingConfig) -> bool:
    epochs = len(run.reports)
    return epochs >= config.epochs or epochs - run.best_epoch >= config.patience


def _epoch(run: Run, config: TrainingConfig, task: Task, watcher: Watcher) -> EpochReport:
    started = time.monotonic()
    run.model.train()
    phases = run.model.phases()
    num_passes = sum(phase.passes for phase in phases)
    total_steps = config.epochs * num_passes * math.ceil(task.rows.shape[0] / config.batch_size)
    sums = _Sums()
    for phase in phases:
        run.model.start_phase(phase.name)
        for batch in _batches(run, config, task.rows, phase.passes):
            _set_learning_rate(run, learning_rate_at(run.step, total_steps, config))
            run.step += 1
            sums.beta = beta_at(run.step, total_steps, config)
            _step(run, config, batch, phase, sums)
            watcher.on_step(len(batch) / num_passes)
    _check_weights(run, config)
    trained = time.monotonic()
    run.model.eval()
    valid = task.measure(run.model)
    return EpochReport(
        epoch=len(run.reports) + 1,
        loss=sums.loss / sums.rows,
        regularizer=sums.regularizer / sums.rows,
        beta=sums.beta,
        valid=valid,
        train_s=trained - started,
        eval_s=time.monotonic() - trained,
    )


def _set_learning_rate(run: Run, learning_rate: float) -> None:
    for optimizer in run.optimizers.values():
        for group in optimizer.param_groups:
            group["lr"] = learning_rate


def _step(run: Run, config: TrainingConfig, batch: HistoryBatch, phase: Phase, sums: _Sums) -> None:
    run.model.zero_grad(set_to_none=True)
    noisy = run.model.training_pass(batch, run.noise)
    # KL is summed over dimensions and averaged over users, like the likelihood beside it.
    reconstruction_B = noisy.loss_B
    if reconstruction_B is None:
        reconstruction_B = run.loss(noisy.query_BH, run.model, batch)
    mean_loss = (reconstruction_B + sums.beta * noisy.regularizer_B).mean()
    torch.autograd.backward(mean_loss, inputs=phase.parameters)
    clip_grad_norm_(phase.parameters, config.max_grad_norm)
    run.optimizers[phase.name].step()
    loss = mean_loss.item()
    if not math.isfinite(loss):
        raise TrainingDivergedError(
            f"the loss is {loss} in epoch {len(run.reports) + 1}, step {run.step}: "
            f"lower learning_rate ({config.learning_rate:g}) or max_grad_norm"
        )
    sums.rows += len(batch)
    sums.loss += loss * len(batch)
    sums.regularizer += noisy.regularizer_B.sum().item()


def _check_weights(run: Run, config: TrainingConfig) -> None:
    # The loss of a step is that of the weights before it: nobody has seen those after the last
    # one, and an epoch with NaN among them would be measured, called the best, and kept.
    for name, weight in run.model.named_parameters():
        if not bool(weight.isfinite().all()):
            raise TrainingDivergedError(
                f"{name} is no longer finite after epoch {len(run.reports) + 1}: lower "
                f"learning_rate ({config.learning_rate:g}) or max_grad_norm"
            )


def _batches(
    run: Run, config: TrainingConfig, rows: csr_array, passes: int
) -> Iterator[HistoryBatch]:
    device = run.model.item_bias_I.device
    for _ in range(passes):
        order_U = torch.randperm(rows.shape[0], generator=run.order).numpy()
        for start in range(0, len(order_U), config.batch_size):
            # Ascending within the batch: rows are gathered in the order they lie in memory.
            index_B = np.sort(order_U[start : start + config.batch_size])
            drawn = rows[index_B]
            batch = HistoryBatch.from_csr(drawn.indptr, drawn.indices, drawn.data, index_B)
            yield batch.to(device)


def _result(run: Run, task: Task, *, interrupted: bool) -> TrainingResult:
    run.model.load_state_dict(run.best_weights)
    train_s = sum(report.train_s for report in run.reports)
    return TrainingResult(
        model=run.model.freeze(),
        reports=tuple(run.reports),
        best_epoch=run.best_epoch,
        interrupted=interrupted,
        seconds=train_s + sum(report.eval_s for report in run.reports),
        users_per_second=task.rows.shape[0] * len(run.reports) / train_s,
    )
