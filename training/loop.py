"""The training loop: epochs, annealing, validation, early stopping, resume.

Knows nothing of files to read, of bundles to write or of the terminal.
"""

import math
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, final, runtime_checkable

import torch
from torch import nn

from service.autoencoders.base import Autoencoder, Phase, TrainableAutoencoder
from service.autoencoders.noise import SharedGenerator
from service.checkpoint import build_model
from service.device import pick_device
from training.batches import Batches
from training.config import TrainingConfig
from training.distributed import World
from training.errors import TrainingDivergedError
from training.objective import objective
from training.optimizers import RowAdam
from training.schedule import beta_at, learning_rate_at
from training.state import EpochReport, Run, load_state, save_state
from training.step import BatchLoss, Plan, Sums, hold_still, set_learning_rate, steps_of, take_step
from training.task import Task
from training.touched_rows import row_tables, touched_rows

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
    config: TrainingConfig,
    task: Task,
    watcher: Watcher,
    resumable: Resumable | None = None,
    world: World | None = None,
) -> TrainingResult:
    """Train a model by gradients; the same config, data and thread count give the same numbers.

    Several processes that call it with the same arguments train one model together: a batch has
    ``batch_size`` users over all of them, and they get the numbers of one process but for the
    order of sums.

    Args:
        config: The run.
        task: What to learn from, and what chooses the epoch; its figures are the same in all
            processes.
        watcher: Told of every step and epoch.
        resumable: Where to keep the state, if anywhere; the first process writes it.
        world: The processes that share the run; None: this one alone.

    Raises:
        TrainingDivergedError: The loss is no longer finite.
        KeyboardInterrupt: Ctrl-C before the first epoch was done; later it ends the run.
    """
    world = world or World.alone()
    run = _start(config, task, world)
    if resumable is not None and resumable.resume:
        load_state(run, resumable.fingerprint, resumable.directory)
    plan = _plan(run, config, task, world)
    interrupted = False
    next_save_s = 0.0
    try:
        while not _finished(run, config):
            report = _epoch(run, plan, task, watcher)
            run.note(report, task.merit(report.valid))
            watcher.on_epoch(run.reports[-1], run.best_epoch)
            if resumable is not None and world.is_first and time.monotonic() >= next_save_s:
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


def _start(config: TrainingConfig, task: Task, world: World) -> Run:
    device = pick_device(config.device)
    if config.threads:
        torch.set_num_threads(config.threads)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        num_users, num_items = task.rows.shape
        model = build_model(config.model, config.architecture, num_items, num_users).to(device)
    if not isinstance(model, TrainableAutoencoder):
        raise TypeError(f"{config.model} has a closed form; gradients do not train it")
    noise = SharedGenerator(device)
    noise.manual_seed(config.seed)
    # Processes average the gradients of whole tables: each has other rows in its batch.
    tables = row_tables(config, model).values() if world.size == 1 else ()
    return Run(
        model=model,
        loss=objective(config, task.rows, noise),
        optimizers={phase.name: _optimizer(phase, config, tables) for phase in model.phases()},
        order=torch.Generator().manual_seed(config.seed),
        noise=noise,
    )


def _plan(run: Run, config: TrainingConfig, task: Task, world: World) -> Plan:
    shard = world.shard(task.rows.shape[0])
    device = run.model.item_bias_I.device
    touched = touched_rows(run.model, run.loss, run.optimizers.values(), config)
    looked_at = (touched.model, touched.loss) if touched else (run.model, run.loss)
    return Plan(
        config=config,
        world=world,
        batches=Batches(task.rows, shard, config.batch_size, device),
        steps=steps_of(BatchLoss(*looked_at, run.noise), world),
        touched=touched,
    )


def _optimizer(
    phase: Phase, config: TrainingConfig, tables: Collection[nn.Parameter]
) -> torch.optim.Optimizer:
    if tables:
        return RowAdam(phase.parameters, tables, config.learning_rate)
    return torch.optim.Adam(
        phase.parameters, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )


def _finished(run: Run, config: TrainingConfig) -> bool:
    epochs = len(run.reports)
    return epochs >= config.epochs or epochs - run.best_epoch >= config.patience


def _epoch(run: Run, plan: Plan, task: Task, watcher: Watcher) -> EpochReport:
    started = time.monotonic()
    config = plan.config
    run.model.train()
    phases = run.model.phases()
    num_passes = sum(phase.passes for phase in phases)
    total_steps = config.epochs * num_passes * math.ceil(task.rows.shape[0] / config.batch_size)
    sums = Sums()
    for phase in phases:
        run.model.start_phase(phase.name)
        hold_still(run.model, phase)
        for batch in (each for _ in range(phase.passes) for each in plan.batches.drawn(run.order)):
            set_learning_rate(run, learning_rate_at(run.step, total_steps, config))
            run.step += 1
            sums.beta = beta_at(run.step, total_steps, config)
            take_step(run, plan, batch, phase, sums)
            watcher.on_step(batch.rows.whole / num_passes)
    if plan.touched:
        plan.touched.catch_up()
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


def _check_weights(run: Run, config: TrainingConfig) -> None:
    # The loss of a step is that of the weights before it: nobody has seen those after the last
    # one, and an epoch with NaN among them would be measured, called the best, and kept.
    for name, weight in run.model.named_parameters():
        if not bool(weight.isfinite().all()):
            raise TrainingDivergedError(
                f"{name} is no longer finite after epoch {len(run.reports) + 1}: lower "
                f"learning_rate ({config.learning_rate:g}) or max_grad_norm"
            )


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
