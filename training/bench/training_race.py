"""How fast the shipped loop trains, and with how much memory, against a dense-input loop.

Each run is a process of its own, so that its peak memory is its own, and so that no loop finds
the other's memory warm. Both have the same start, loss, schedule, clipping, order of users and
threads; the reference has dense rows, ``nn.Linear`` at both ends and PyTorch's default Adam.
"""

import math
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal, final

import orjson

from training.bench.synthetic import Shape
from training.errors import BadInputError

Contestant = Literal["foldin", "dense"]
CONTESTANTS: Final[tuple[Contestant, ...]] = ("foldin", "dense")
# Means over seeds further apart than so many of their standard errors do not come from one curve;
# and below the floor, relative to the loss, float32 sums in another order explain anything.
STANDARD_ERRORS: Final = 3.0
LOSS_FLOOR: Final = 1e-4
ROOT: Final = Path(__file__).parents[2]


@final
@dataclass(frozen=True, slots=True)
class TrainPlan:
    """What to train.

    Attributes:
        shape: Of the model; ``items`` counts for a synthetic log only.
        users: Of a synthetic log; the first ones of a given log, 0 for all.
        log: A log to train on; None draws one.
        epochs: Of each run.
        repeats: Runs of each contestant, with a seed each.
        batch_size: Users a step.
        threads: Torch's.
        seed: Of the first run.
        length: Items of a user of a synthetic log, by the median.
    """

    shape: Shape
    users: int = 20_000
    log: str | None = None
    epochs: int = 2
    repeats: int = 3
    batch_size: int = 500
    threads: int = 1
    seed: int = 0
    length: int = 35


@final
@dataclass(frozen=True, slots=True)
class TrainRun:
    """What one process did.

    Attributes:
        contestant: Who trained.
        seed: Start of all chance.
        users_per_second: Over the training steps; the median epoch.
        peak_bytes: Most memory that the process held.
        baseline_bytes: What it held before the training: interpreter, libraries, log.
        losses: By epoch, the mean over users.
    """

    contestant: Contestant
    seed: int
    users_per_second: float
    peak_bytes: int
    baseline_bytes: int
    losses: tuple[float, ...]


@final
@dataclass(frozen=True, slots=True)
class TrainSummary:
    """Medians over the runs.

    Attributes:
        users_per_second: By contestant.
        speedup: Of the shipped loop over the dense one.
        peak_bytes: By contestant.
        losses: By contestant and epoch, the mean over seeds.
        loss_fall: How much of its first epoch's loss the dense loop lost: a curve that hardly falls
            says little of whether two are equal.
        loss_gap: The largest relative difference of an epoch's losses.
        loss_noise: What seeds alone make of that: ``STANDARD_ERRORS`` times the standard error,
            relative, of the noisiest epoch; at least ``LOSS_FLOOR``.
        equal_losses: Whether every epoch's difference is within its noise.
    """

    users_per_second: dict[str, float]
    speedup: float
    peak_bytes: dict[str, int]
    losses: dict[str, tuple[float, ...]]
    loss_fall: float
    loss_gap: float
    loss_noise: float
    equal_losses: bool


Start = Callable[[TrainPlan, Contestant, int], TrainRun]


def run_process(plan: TrainPlan, contestant: Contestant, seed: int) -> TrainRun:
    """Train once in a process of its own.

    Raises:
        BadInputError: The process failed; its last words are the message.
    """
    request = orjson.dumps({"plan": asdict(plan), "contestant": contestant, "seed": seed})
    done = subprocess.run(
        [sys.executable, "-m", "training.bench.training_run"],
        cwd=ROOT,
        input=request,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip().splitlines() or ["no word"]
        raise BadInputError(f"the {contestant} run failed: {words[-1]}")
    return read_run(done.stdout)


def read_run(content: bytes) -> TrainRun:
    """Read what the process printed last."""
    fields = orjson.loads(content.splitlines()[-1])
    return TrainRun(**{**fields, "losses": tuple(fields["losses"])})


def race_training(
    plan: TrainPlan, on_run: Callable[[TrainRun], None], start: Start = run_process
) -> list[TrainRun]:
    """Train in turns: every repeat runs both contestants, every second one in reverse order."""
    runs: list[TrainRun] = []
    for repeat in range(plan.repeats):
        for contestant in CONTESTANTS[:: -1 if repeat % 2 else 1]:
            runs.append(start(plan, contestant, plan.seed + repeat))
            on_run(runs[-1])
    return runs


def summarize(runs: Sequence[TrainRun]) -> TrainSummary:
    """Boil runs of both contestants down."""
    of = {name: [run for run in runs if run.contestant == name] for name in CONTESTANTS}
    speed: dict[str, float] = {
        n: statistics.median(run.users_per_second for run in of[n]) for n in CONTESTANTS
    }
    epochs = {name: list(zip(*(run.losses for run in of[name]), strict=True)) for name in of}
    compared = [_compared(*pair) for pair in zip(epochs["foldin"], epochs["dense"], strict=True)]
    return TrainSummary(
        users_per_second=speed,
        speedup=speed["foldin"] / speed["dense"],
        peak_bytes={
            name: int(statistics.median(run.peak_bytes for run in of[name])) for name in CONTESTANTS
        },
        losses={
            name: tuple(statistics.fmean(by_seed) for by_seed in by_epoch)
            for name, by_epoch in epochs.items()
        },
        loss_fall=1 - statistics.fmean(epochs["dense"][-1]) / statistics.fmean(epochs["dense"][0]),
        loss_gap=max(gap for gap, _ in compared),
        loss_noise=max(noise for _, noise in compared),
        equal_losses=all(gap <= noise for gap, noise in compared),
    )


def _compared(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float]:
    """Give the relative gap between two means over seeds, and what noise explains of it."""
    mean = statistics.fmean(theirs)
    gap = abs(statistics.fmean(ours) / mean - 1)
    if len(ours) == 1:
        return gap, LOSS_FLOOR
    error = math.hypot(
        *(statistics.stdev(losses) / math.sqrt(len(losses)) for losses in (ours, theirs))
    )
    return gap, max(LOSS_FLOOR, STANDARD_ERRORS * error / mean)
