"""A run in progress: what training changes from step to step, and its file for resuming.

No pickle: tensors go to safetensors, the rest to JSON inside its metadata, with a digest of both.
One file, renamed into place: an interruption leaves the previous state or this one.
"""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, final

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Generator, Tensor

from service.autoencoders.base import TrainableAutoencoder
from service.autoencoders.noise import SharedGenerator
from training.errors import BadInputError, first_fault
from training.losses import Loss
from training.output import named_faults

STATE_FILE: Final = ".training-state.safetensors"
# A folder, since safetensors writes to a name of its own choice first, which a kill would leave.
STAGING: Final = ".training-state.new"
# In front of the name of a model that is part of another: its state has a folder of its own.
PART_PREFIX: Final = ".hybrid-"
ANEW: Final = "run without --resume to begin anew"
# The keys of a state's metadata.
PROGRESS: Final = "progress"
DIGEST: Final = "sha256"


@final
@dataclass(frozen=True, slots=True)
class EpochReport:
    """What one epoch did.

    Attributes:
        epoch: Counted from 1.
        loss: Mean over users, the KL term and beta included.
        regularizer: Mean over users of what beta weighs: the KL, in RecVAE times their items.
        beta: At the end of the epoch.
        valid: Validation metrics by name.
        train_s: Seconds spent on training steps.
        eval_s: Seconds spent on validation.
    """

    epoch: int
    loss: float
    regularizer: float
    beta: float
    valid: dict[str, float]
    train_s: float
    eval_s: float


@final
@dataclass(slots=True)
class Run:
    """Everything that a resumed run must have as the interrupted one had it.

    ``loss`` keeps nothing of its own: what it draws comes from ``noise``.
    """

    model: TrainableAutoencoder
    loss: Loss
    optimizers: Mapping[str, torch.optim.Optimizer]
    order: Generator
    noise: SharedGenerator
    step: int = 0
    best_epoch: int = 0
    best_merit: float = -math.inf
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    reports: list[EpochReport] = field(default_factory=list)

    def note(self, report: EpochReport, merit: float) -> None:
        """Append an epoch; keep a copy of the weights if they are the best so far."""
        if merit > self.best_merit:
            # The copy first: Ctrl-C in the midst of it leaves the best epoch and its weights.
            self.best_weights = {k: v.clone() for k, v in self.model.state_dict().items()}
            self.best_merit = merit
            self.best_epoch = report.epoch
        self.reports.append(report)


@final
@dataclass(frozen=True, slots=True)
class _Progress:
    """What a state holds beside tensors; see ``Run``."""

    fingerprint: str
    step: int
    best_epoch: int
    best_merit: float
    reports: list[EpochReport]


def save_state(run: Run, fingerprint: str, directory: Path) -> None:
    """Write a run at the end of an epoch.

    Args:
        run: Moved to nothing, changed in nothing.
        fingerprint: Of config and data; a state of another run is not resumed.
        directory: Made if it is not there.

    Raises:
        BadInputError: The disk is full, or the like; the state before is kept.
    """
    tensors = {name: tensor.contiguous().cpu() for name, tensor in _tensors_of(run).items()}
    progress = _Progress(fingerprint, run.step, run.best_epoch, run.best_merit, run.reports)
    text = json.dumps(asdict(progress))  # NaN and infinities included, which orjson makes null
    metadata = {PROGRESS: text, DIGEST: _digest(text, tensors)}
    staging = directory / STAGING
    with named_faults(directory, advice(directory)):
        _remove(staging)
        staging.mkdir(parents=True)
        try:
            staged = staging / STATE_FILE
            save_file(tensors, staged, metadata=metadata)
            _sync(staged)
            staged.replace(directory / STATE_FILE)
        finally:  # half a state takes room, too
            _remove(staging)


def advice(directory: Path) -> str:
    """Say how to go on when the folder of a run, or of a part of it, could not be written to."""
    whole = directory.parent if directory.name.startswith(PART_PREFIX) else directory
    states = (whole / STATE_FILE, *whole.glob(f"{PART_PREFIX}*/{STATE_FILE}"))
    if any(state.is_file() for state in states):
        return "put that right, and --resume goes on from the state that is kept"
    return f"no state was kept: put that right, and {ANEW}"


def refuse_no_state(directory: Path) -> None:
    """Refuse to go on where nothing is kept.

    Raises:
        BadInputError: There is no state.
    """
    if not (directory / STATE_FILE).is_file():
        raise BadInputError(f"nothing to resume: no {STATE_FILE} in {directory}; {ANEW}")


def check_state(fingerprint: str, directory: Path) -> bool:
    """Tell whether there is a state to go on with.

    Raises:
        BadInputError: It is damaged, or it belongs to another run.
    """
    if not (directory / STATE_FILE).is_file():
        return False
    _read(directory / STATE_FILE, fingerprint)
    return True


def forget_states(directory: Path) -> None:
    """Remove the states of a run and of its parts: they are large, and of no use to another run."""
    (directory / STATE_FILE).unlink(missing_ok=True)
    for folder in (directory / STAGING, *directory.glob(f"{PART_PREFIX}*")):
        _remove(folder)


def load_state(run: Run, fingerprint: str, directory: Path) -> None:
    """Bring a fresh run to where an interrupted one was.

    Raises:
        BadInputError: There is no state, it is damaged, or it belongs to another run.
    """
    refuse_no_state(directory)
    path = directory / STATE_FILE
    progress, tensors = _read(path, fingerprint)
    _refuse_misfits(run, progress, tensors, path)
    _remove(directory / STAGING)
    run.model.load_state_dict(_below("model.", tensors))
    for phase, optimizer in run.optimizers.items():
        _load_optimizer(optimizer, _below(f"optimizer.{phase}.", tensors))
    run.order.set_state(tensors["generator.order"])
    run.noise.set_state(tensors["generator.noise"])
    run.step = progress.step
    run.best_epoch = progress.best_epoch
    run.best_merit = progress.best_merit
    run.best_weights = _below("best.", tensors)
    run.reports = progress.reports


def _tensors_of(run: Run) -> dict[str, Tensor]:
    return {
        **{f"model.{name}": tensor for name, tensor in run.model.state_dict().items()},
        **{f"best.{name}": tensor for name, tensor in run.best_weights.items()},
        **{
            f"optimizer.{phase}.{index}.{name}": tensor
            for phase, optimizer in run.optimizers.items()
            for index, entry in optimizer.state_dict()["state"].items()
            for name, tensor in entry.items()
        },
        "generator.order": run.order.get_state(),
        "generator.noise": run.noise.get_state(),
    }


def _digest(progress: str, tensors: Mapping[str, Tensor]) -> str:
    """Give the sha256 of all that a state holds; the tensors are contiguous and on the CPU."""
    digest = hashlib.sha256(progress.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        # As bytes: numpy knows not all types, bfloat16 for one.
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _read(path: Path, fingerprint: str) -> tuple[_Progress, dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except SafetensorError as error:
        raise _damaged(path, str(error)) from error
    # Without one: of a version that wrote none, or the key itself is damaged.
    if metadata.get(DIGEST) != _digest(metadata.get(PROGRESS, ""), tensors):
        raise _damaged(path, "it has no digest that fits its content")
    try:
        progress = TypeAdapter(_Progress).validate_json(metadata.get(PROGRESS, ""), strict=True)
    except ValidationError as error:
        raise _damaged(path, first_fault(error)) from error
    if progress.fingerprint != fingerprint:
        raise BadInputError(f"{path} belongs to a run with other data or settings; {ANEW}")
    return progress, tensors


def _damaged(path: Path, reason: str) -> BadInputError:
    return BadInputError(f"{path} is damaged: {reason}; {ANEW}")


def _refuse_misfits(
    run: Run, progress: _Progress, tensors: Mapping[str, Tensor], path: Path
) -> None:
    """Refuse what no digest tells: whole, but written by another version or for another device."""
    alike = _alike(run, with_best=progress.best_epoch > 0, names=tensors.keys())
    for name in sorted(alike.keys() | tensors.keys()):
        if name not in tensors:
            raise _damaged(path, f"{name} is missing")
        if name not in alike:
            raise _damaged(path, f"{name} is unknown")
        found, fit = tensors[name], alike[name]
        if (found.dtype, found.shape) != (fit.dtype, fit.shape):
            raise _damaged(path, f"{name} has another type or shape than it had to have")


def _alike(run: Run, *, with_best: bool, names: Collection[str]) -> dict[str, Tensor]:
    """Give tensors of the types and shapes that a state of this run has."""
    alike = _tensors_of(run)
    if with_best:
        alike |= {f"best.{name}": tensor for name, tensor in run.model.state_dict().items()}
    for phase, optimizer in run.optimizers.items():
        parameters = [each for group in optimizer.param_groups for each in group["params"]]
        for index, parameter in enumerate(parameters):
            of_adam = {"step": torch.zeros(()), "exp_avg": parameter, "exp_avg_sq": parameter}
            entry = {f"optimizer.{phase}.{index}.{key}": each for key, each in of_adam.items()}
            if not entry.keys().isdisjoint(names):  # what no gradient reached has none of them
                alike |= entry
    return alike


def _remove(path: Path) -> None:
    """Remove a folder, or the file that somebody put in its place."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    elif path.is_symlink() or path.exists():
        path.unlink()


def _sync(path: Path) -> None:
    """Bring a file to the disk: some file systems tell only then that there is no room."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
