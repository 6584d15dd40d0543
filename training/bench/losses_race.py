"""What a sample of the catalogue costs in accuracy, and what it gives in speed and memory.

The same model learns from the same log under the exact loss, under a sampled one whose Adam moves
every row in every step, and under one whose Adam moves the rows of the batch. Each run is a process
of its own, so that its peak of memory is its own. A run of one epoch on a log that is too large for
the exact loss stands beside them.
"""

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, Self, final

import orjson

from training.bench.interaction_log import LogShape
from training.errors import BadInputError

Contestant = Literal["exact", "sampled, all rows", "sampled"]
CONTESTANTS: Final[tuple[Contestant, ...]] = ("exact", "sampled, all rows", "sampled")
ROOT: Final = Path(__file__).parents[2]


@final
@dataclass(frozen=True, slots=True)
class LossesPlan:
    """What to train, and how often.

    Attributes:
        log: A log to train on; None draws one.
        shape: Of the log that is drawn.
        held_out: Validation users of that log.
        hidden: Units of the Mult-VAE's hidden layers.
        latent: Its latent dimensions.
        epochs: Of each run; none ends early.
        batch_size: Users a step.
        learning_rate: Of all contestants, falling along half a cosine.
        negatives: Of the sampled contestants.
        threads: Torch's.
        seed: Of all runs.
    """

    log: str | None = None
    shape: LogShape = field(default_factory=LogShape)
    held_out: int = 2_000
    hidden: int = 600
    latent: int = 200
    epochs: int = 15
    batch_size: int = 500
    learning_rate: float = 2e-3
    negatives: int = 8_000
    threads: int = 1
    seed: int = 0

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Self:
        """Read what ``asdict`` gives."""
        return cls(**{**fields, "shape": LogShape(**fields["shape"])})


@final
@dataclass(frozen=True, slots=True)
class LossesRun:
    """What one process did.

    Attributes:
        contestant: Who trained.
        users: Training users.
        items: Of the catalogue.
        interactions: Of the training users.
        users_per_second: Over the training steps; the median epoch.
        train_s: Of all epochs.
        peak_bytes: Most memory that the process held.
        baseline_bytes: What it held before the training: interpreter, libraries, log.
        curve: Validation NDCG@100 by epoch.
        valid: Validation figures of the best epoch.
        popularity: Of the most popular items, on the same users.
    """

    contestant: Contestant
    users: int
    items: int
    interactions: int
    users_per_second: float
    train_s: float
    peak_bytes: int
    baseline_bytes: int
    curve: tuple[float, ...]
    valid: Mapping[str, float]
    popularity: Mapping[str, float]


@final
@dataclass(frozen=True, slots=True)
class Standing:
    """A run beside the exact one.

    Attributes:
        run: What it did.
        speed_ratio: Users a second over those of the exact loss.
        quality_ratio: Validation NDCG@100 over that of the exact loss.
    """

    run: LossesRun
    speed_ratio: float
    quality_ratio: float


Start = Callable[[LossesPlan, Contestant], LossesRun]


def large_plan(plan: LossesPlan, shape: LogShape) -> LossesPlan:
    """Give the plan of the large log: one epoch of a smaller model, in more and longer steps."""
    return replace(
        plan,
        log=None,
        shape=shape,
        hidden=128,
        latent=64,
        epochs=1,
        batch_size=250,
        learning_rate=5e-3,
        negatives=4_000,
    )


def run_process(plan: LossesPlan, contestant: Contestant) -> LossesRun:
    """Train once in a process of its own.

    Raises:
        BadInputError: The process failed; its last words are the message.
    """
    done = subprocess.run(
        [sys.executable, "-m", "training.bench.losses_run"],
        cwd=ROOT,
        input=orjson.dumps({"plan": asdict(plan), "contestant": contestant}),
        capture_output=True,
        check=False,
    )
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip().splitlines() or ["no word"]
        raise BadInputError(f"the run {contestant!r} failed: {words[-1]}")
    fields = orjson.loads(done.stdout.splitlines()[-1])
    return LossesRun(**{**fields, "curve": tuple(fields["curve"])})


def race_losses(
    plan: LossesPlan, on_run: Callable[[LossesRun], None], start: Start = run_process
) -> list[LossesRun]:
    """Train every contestant, one after the other."""
    runs: list[LossesRun] = []
    for contestant in CONTESTANTS:
        runs.append(start(plan, contestant))
        on_run(runs[-1])
    return runs


def standings(runs: Sequence[LossesRun]) -> list[Standing]:
    """Set every run beside the exact one, which comes first."""
    exact = runs[0]
    return [
        Standing(
            run,
            run.users_per_second / exact.users_per_second,
            run.valid["ndcg@100"] / exact.valid["ndcg@100"],
        )
        for run in runs
    ]
