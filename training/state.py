"""A run in progress: what training changes from step to step, and its file for resuming.

No pickle: tensors go to safetensors, the rest to JSON inside its metadata. One file, renamed
into place: an interruption leaves the previous state or this one.
"""

import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, final

import orjson
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Generator, Tensor

from service.autoencoders.base import TrainableAutoencoder
from training.errors import BadInputError
from training.losses import Loss
from training.output import named_faults

STATE_FILE: Final = ".training-state.safetensors"
# A folder, since safetensors writes to a name of its own choice first, which a kill would leave.
STAGING: Final = ".training-state.new"
# In front of the name of a model that is part of another: its state has a folder of its own.
PART_PREFIX: Final = ".hybrid-"
ANEW: Final = "run without --resume to begin anew"


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
    noise: Generator
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


def save_state(run: Run, fingerprint: str, directory: Path) -> None:
    """Write a run at the end of an epoch.

    Args:
        run: Moved to nothing, changed in nothing.
        fingerprint: Of config and data; a state of another run is not resumed.
        directory: Made if it is not there.

    Raises:
        BadInputError: The disk is full, or the like; the state before is kept.
    """
    tensors = {
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
    progress = {
        "fingerprint": fingerprint,
        "step": run.step,
        "best_epoch": run.best_epoch,
        "best_merit": run.best_merit,
        "reports": [asdict(report) for report in run.reports],
    }
    staging = directory / STAGING
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with named_faults(directory, advice(directory)):
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        try:
            staged = staging / STATE_FILE
            save_file(contiguous, staged, metadata={"progress": orjson.dumps(progress).decode()})
            _sync(staged)
            staged.replace(directory / STATE_FILE)
        finally:  # half a state takes room, too
            shutil.rmtree(staging, ignore_errors=True)


def advice(directory: Path) -> str:
    """Say how to go on when the folder of a run, or of a part of it, could not be written to."""
    whole = directory.parent if directory.name.startswith(PART_PREFIX) else directory
    states = (whole / STATE_FILE, *whole.glob(f"{PART_PREFIX}*/{STATE_FILE}"))
    if any(state.is_file() for state in states):
        return "put that right, and --resume goes on from the state that is kept"
    return f"no state was kept: put that right, and {ANEW}"


def check_state(fingerprint: str, directory: Path) -> bool:
    """Tell whether there is a state to go on with.

    Raises:
        BadInputError: It is damaged, or it belongs to another run.
    """
    if not (directory / STATE_FILE).is_file():
        return False
    _read(directory / STATE_FILE, fingerprint, with_tensors=False)
    return True


def forget_states(directory: Path) -> None:
    """Remove the states of a run and of its parts: they are large, and of no use to another run."""
    (directory / STATE_FILE).unlink(missing_ok=True)
    for folder in (directory / STAGING, *directory.glob(f"{PART_PREFIX}*")):
        shutil.rmtree(folder, ignore_errors=True)


def load_state(run: Run, fingerprint: str, directory: Path) -> None:
    """Bring a fresh run to where an interrupted one was.

    Raises:
        BadInputError: There is no state, it is damaged, or it belongs to another run.
    """
    path = directory / STATE_FILE
    if not path.is_file():
        raise BadInputError(f"nothing to resume: no {STATE_FILE} in {directory}; {ANEW}")
    progress, tensors = _read(path, fingerprint, with_tensors=True)
    shutil.rmtree(directory / STAGING, ignore_errors=True)
    run.model.load_state_dict(_below("model.", tensors))
    for phase, optimizer in run.optimizers.items():
        _load_optimizer(optimizer, _below(f"optimizer.{phase}.", tensors))
    run.order.set_state(tensors["generator.order"])
    run.noise.set_state(tensors["generator.noise"])
    run.step = progress["step"]
    run.best_epoch = progress["best_epoch"]
    run.best_merit = progress["best_merit"]
    run.best_weights = _below("best.", tensors)
    run.reports = [EpochReport(**report) for report in progress["reports"]]


def _read(
    path: Path, fingerprint: str, *, with_tensors: bool
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            progress: dict[str, Any] = orjson.loads(file.metadata()["progress"])
            names = file.keys() if with_tensors else []
            tensors = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, KeyError, TypeError, orjson.JSONDecodeError) as error:
        raise BadInputError(f"{path} is damaged: {error}; {ANEW}") from error
    if progress["fingerprint"] != fingerprint:
        raise BadInputError(f"{path} belongs to a run with other data or settings; {ANEW}")
    return progress, tensors


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
