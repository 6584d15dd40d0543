"""``foldin bench``: speed, every figure beside its reference in the same run."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from training.bench.environment import environment
from training.bench.reading import QUICK_ROWS, ROWS, measure_reading, reading_table
from training.bench.runs import (
    Effort,
    Record,
    ServeChoice,
    plain,
    run_decode,
    run_score,
    run_serve,
    run_train,
)
from training.bench.subject import Users, opened
from training.bench.synthetic import Shape
from training.bench.training_race import TrainPlan
from training.errors import BadInputError
from training.verbs.bench_losses import losses
from training.verbs.bench_scale import scaling
from training.verbs.options import JsonOption, console, refuse_unwritable, write_json

bench = typer.Typer(
    help="Measure speed: ratios to references that run beside, in the same run.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
bench.command()(losses)
bench.add_typer(scaling)  # without a name of its own: ``bench items`` and so on

CheckpointArgument = Annotated[
    Path | None,
    typer.Argument(
        help="A bundle or model directory. [a synthetic Mult-VAE]", metavar="CHECKPOINT"
    ),
]
ItemsOption = Annotated[int, typer.Option(min=200, help="Items of the synthetic model.")]
HiddenOption = Annotated[int, typer.Option(min=1, help="Its hidden units.")]
LatentOption = Annotated[int, typer.Option(min=1, help="Its latent dimensions.")]
LogOption = Annotated[
    str | None, typer.Option(help="Take histories of this log's test users. [drawn by popularity]")
]
HistoryOption = Annotated[int, typer.Option(min=1, help="Items of a drawn history.")]
UsersOption = Annotated[int, typer.Option(min=128, help="Users; 500 with --quick.")]
RepeatsOption = Annotated[
    int | None, typer.Option(min=1, help="Timings of each; medians count. [3 to 5]")
]
ThreadsOption = Annotated[int | None, typer.Option(min=1, help="Threads. [one per core]")]
QuickOption = Annotated[bool, typer.Option(help="Small plans, for a look.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Start of all chance.")]
WorkersOption = Annotated[
    str, typer.Option(help="Processes of each server; '1,2' runs both and compares memory.")
]
SecondsOption = Annotated[
    float | None, typer.Option(min=1, help="Of each measurement. [5; --quick: 1]")
]
KOption = Annotated[int, typer.Option("-k", min=1, help="Items of a list.")]
LogLevelOption = Annotated[
    Literal["debug", "info", "warning", "error"],
    typer.Option(help="Of all three servers alike; info has a line a request."),
]
LogDirOption = Annotated[Path | None, typer.Option(help="Keep the servers' logs here. [nowhere]")]


@bench.command()
def decode(
    checkpoint: CheckpointArgument = None,
    *,
    items: ItemsOption = 20_108,
    hidden: HiddenOption = 600,
    latent: LatentOption = 200,
    log: LogOption = None,
    history: HistoryOption = 100,
    users: UsersOption = 5_000,
    repeats: RepeatsOption = None,
    threads: ThreadsOption = None,
    quick: QuickOption = False,
    seed: SeedOption = 0,
    json: JsonOption = None,
) -> None:
    """Queries in, lists out: each retrieval mode against a float32 product and topk on torch.

    Batches of 1, 8, 32 and 128, lists of 10, 20 and 100. Then every list of all users is
    compared with the exact one, by float64 scores.
    """
    refuse_unwritable(Path(), json)
    asking = Users(users, history, log, seed)
    with opened(checkpoint, Shape(items, hidden, latent), seed) as subject:
        record = run_decode(subject, asking, Effort(quick, threads, repeats), console)
    _write(json, {"decode": record})


@bench.command()
def score(
    checkpoint: CheckpointArgument = None,
    *,
    items: ItemsOption = 20_108,
    hidden: HiddenOption = 600,
    latent: LatentOption = 200,
    log: LogOption = None,
    history: HistoryOption = 100,
    users: UsersOption = 5_000,
    repeats: RepeatsOption = None,
    threads: ThreadsOption = None,
    quick: QuickOption = False,
    seed: SeedOption = 0,
    json: JsonOption = None,
) -> None:
    """Histories in, lists out, users a second: against dense float32 torch, and implicit.

    implicit searches the same item matrix, the bias as one more column, where it is installed.
    """
    refuse_unwritable(Path(), json)
    asking = Users(users, history, log, seed)
    with opened(checkpoint, Shape(items, hidden, latent), seed) as subject:
        record = run_score(subject, asking, Effort(quick, threads, repeats), console)
    _write(json, {"score": record})


@bench.command()
def serve(
    checkpoint: CheckpointArgument = None,
    *,
    items: ItemsOption = 20_108,
    hidden: HiddenOption = 600,
    latent: LatentOption = 200,
    history: HistoryOption = 100,
    k: KOption = 20,
    workers: WorkersOption = "1",
    seconds: SecondsOption = None,
    repeats: RepeatsOption = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of each worker. [as the service]")
    ] = None,
    log_level: LogLevelOption = "warning",
    log_dir: LogDirOption = None,
    quick: QuickOption = False,
    seed: SeedOption = 0,
    json: JsonOption = None,
) -> None:
    """Real servers under load: ours, a tutorial service, and FastAPI with a constant answer.

    Closed loop at 1, 16 and 64 connections (by wrk where it is installed), then open loop at
    70 % of each one's capacity. Start to ready, memory, and where the time goes.
    """
    refuse_unwritable(log_dir or Path(), json)
    choice = ServeChoice(_counts(workers), seconds, k, log_level, log_dir)
    asking = Users(0, history, None, seed)
    with opened(checkpoint, Shape(items, hidden, latent), seed) as subject:
        effort = Effort(quick, threads, repeats)
        record = run_serve(subject, asking, choice, effort, console)
    _write(json, {"serve": record})


@bench.command()
def train(
    log: Annotated[
        str | None, typer.Argument(help="A log to train on. [synthetic users]", metavar="DATA")
    ] = None,
    *,
    items: ItemsOption = 20_108,
    hidden: HiddenOption = 600,
    latent: LatentOption = 200,
    users: Annotated[
        int, typer.Option(min=0, help="Users; of a log the first ones, 0 for all. --quick: 1,000")
    ] = 20_000,
    epochs: Annotated[int, typer.Option(min=1, help="Of each run.")] = 2,
    batch_size: Annotated[int, typer.Option(min=1, help="Users a step.")] = 500,
    repeats: RepeatsOption = None,
    threads: ThreadsOption = None,
    quick: QuickOption = False,
    seed: SeedOption = 0,
    json: JsonOption = None,
) -> None:
    """The shipped loop against dense rows: users a second, peak memory, loss curve.

    Same start, loss, batches, threads and seeds; each run is a process of its own.
    """
    refuse_unwritable(Path(), json)
    plan = TrainPlan(Shape(items, hidden, latent), users, log, epochs, 3, batch_size, 1, seed)
    _write(json, {"train": run_train(plan, Effort(quick, threads, repeats), console)})


@bench.command()
def read(
    *,
    rows: Annotated[int, typer.Option(min=1_000, help="Of the CSV. --quick: 1,000,000")] = ROWS,
    quick: QuickOption = False,
    seed: SeedOption = 0,
    json: JsonOption = None,
) -> None:
    """A synthetic log out of CSV, then out of the cache: rows a second, and memory over the CSR's.

    Ratings as of MovieLens-20M, in no order; each reading is a process of its own.
    """
    refuse_unwritable(Path(), json)
    report = measure_reading(QUICK_ROWS if quick else rows, seed, console.print)
    console.print(reading_table(report))
    _write(json, {"read": asdict(report)})


@bench.command("all")
def run_all(
    checkpoint: CheckpointArgument = None,
    *,
    items: ItemsOption = 20_108,
    hidden: HiddenOption = 600,
    latent: LatentOption = 200,
    threads: ThreadsOption = None,
    quick: QuickOption = False,
    seed: SeedOption = 0,
    json: JsonOption = None,
) -> None:
    """All four, on one model; with --quick in less than five minutes on two cores."""
    refuse_unwritable(Path(), json)
    effort = Effort(quick, threads)
    asking = Users(5_000, 100, None, seed)
    with opened(checkpoint, Shape(items, hidden, latent), seed) as subject:
        described = subject.describe()
        record: Record = {
            "decode": run_decode(subject, asking, effort, console),
            "score": run_score(subject, asking, effort, console),
            "serve": run_serve(subject, asking, ServeChoice(), effort, console),
        }
        shape = Shape(*(int(described[name]) for name in ("items", "hidden", "latent")))
    record["train"] = run_train(TrainPlan(shape, seed=seed), effort, console)
    _write(json, record)


def _counts(text: str) -> tuple[int, ...]:
    counts = tuple(int(part) for part in text.split(",") if part.strip().isdecimal())
    if not counts or min(counts) < 1 or len(counts) != len(text.split(",")):
        raise BadInputError(f"--workers {text!r}: write 1, or 1,2")
    return counts


def _write(json: Path | None, record: Record) -> None:
    if json:
        write_json(json, plain({"environment": environment(), **record}))
