"""``foldin bench items``, ``plan`` and ``scale``: large catalogues, and how cost grows."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final, cast, get_args

import typer

from service.retrieval_mode import RetrievalMode
from service.settings import available_cores
from training.bench.capacity import Demand
from training.bench.cost_growth import AXES, GrowthPlan
from training.bench.cost_law import refuse_few
from training.bench.environment import environment
from training.bench.modes import A_CHOICE
from training.bench.runs import plain
from training.bench.scale_report import run_growth, run_items, run_plan
from training.bench.serving_scale import ScalePlan
from training.bench.synthetic import Shape
from training.bench.wrk import closed_loop
from training.errors import BadInputError
from training.verbs.options import JsonOption, console, refuse_unwritable, write_json

scaling = typer.Typer(rich_markup_mode=None)

# What --quick makes of the plans.
QUICK_ITEMS: Final[dict[str, Any]] = {"items": (20_000,), "seconds": 1.0}
QUICK_GROWTH: Final[dict[str, Any]] = {
    "users": (500, 1_000, 2_000),
    "items": (1_000, 2_000, 4_000),
    "history": (5, 20, 80),
    "shape": Shape(2_000, 64, 16),
    "base_users": 500,
    "at_least_s": 0.05,
}

HiddenOption = Annotated[int, typer.Option(min=1, help="Hidden units of the synthetic model.")]
LatentOption = Annotated[int, typer.Option(min=1, help="Its latent dimensions.")]
ThreadsOption = Annotated[int | None, typer.Option(min=1, help="Threads. [one per core]")]
QuickOption = Annotated[bool, typer.Option(help="Small plans, for a look.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Start of all chance.")]


@scaling.command()
def items(
    *,
    sizes: Annotated[
        str, typer.Option(help="Items of the catalogues; --quick: 20000.")
    ] = "20000,100000,1000000",
    modes: Annotated[str, typer.Option(help="Ways of retrieval.")] = "exact,int8,ann",
    hidden: HiddenOption = 600,
    latent: LatentOption = 200,
    history: Annotated[int, typer.Option(min=1, help="Items of a drawn history.")] = 100,
    k: Annotated[int, typer.Option("-k", min=1, help="Items of a list.")] = 20,
    connections: Annotated[str, typer.Option(help="Of the closed loops.")] = "1,8",
    seconds: Annotated[float, typer.Option(min=1, help="Of each measurement; --quick: 1.")] = 10.0,
    threads: Annotated[int, typer.Option(min=1, help="Of the engine.")] = 1,
    quick: QuickOption = False,
    seed: SeedOption = 0,
    json: JsonOption = None,
) -> None:
    """The service on large catalogues: start, memory, latency, recall, for each way of retrieval.

    Real servers of one worker on synthetic Mult-VAEs, driven in closed loops. A million items take
    15 GB of memory while their bundle is written, and 5 GB of the folder for temporary files.
    """
    refuse_unwritable(Path(), json)
    plan = ScalePlan(
        items=_numbers("--sizes", sizes),
        modes=_modes(modes),
        hidden=hidden,
        latent=latent,
        history=history,
        k=k,
        connections=_numbers("--connections", connections),
        seconds=seconds,
        threads=threads,
        seed=seed,
    )
    plan = replace(plan, **QUICK_ITEMS) if quick else plan
    record = run_items(plan, closed_loop(), console)
    _write(json, {"items": record})


@scaling.command()
def plan(
    record: Annotated[Path, typer.Argument(help="What bench items --json wrote.")],
    *,
    users: Annotated[int, typer.Option(min=1, help="All of them are kept.")] = 100_000_000,
    items: Annotated[int, typer.Option(min=1, help="Of the catalogue.")] = 10_000_000,
    requests_a_day: Annotated[float, typer.Option(min=0, help="Of a user.")] = 5.0,
    peak: Annotated[float, typer.Option(min=1, help="Busiest second over the average.")] = 3.0,
    use: Annotated[
        float, typer.Option(min=0.01, max=1, help="Of what a process can do, at the peak.")
    ] = 0.6,
    redis_bytes: Annotated[int, typer.Option(min=1, help="Of a user in Redis.")] = 2_810,
    core_hour: Annotated[float, typer.Option(min=0, help="Price of a core-hour.")] = 0.05,
    json: JsonOption = None,
) -> None:
    """On paper: what so many users and items would take, by what was measured of fewer."""
    refuse_unwritable(Path(), json)
    demand = Demand(users, items, requests_a_day, peak, use, redis_bytes, core_hour)
    _write(json, {"plan": run_plan(record, demand, console)})


@scaling.command()
def scale(
    *,
    users: Annotated[
        str, typer.Option(help="Users of the log, varied.")
    ] = "5000,10000,20000,40000,80000",
    items: Annotated[str, typer.Option(help="Items, varied.")] = "5000,20000,80000,160000,320000",
    history: Annotated[str, typer.Option(help="Items of a history, varied.")] = "5,20,80,320,640",
    hidden: HiddenOption = 600,
    latent: LatentOption = 200,
    threads: ThreadsOption = None,
    quick: QuickOption = False,
    seed: SeedOption = 0,
    plot: Annotated[Path | None, typer.Option(help="Draw it as an HTML page here.")] = None,
    json: JsonOption = None,
) -> None:
    """How cost grows: training, encoding, lists and memory against users, items, histories.

    One of them varies while the others stay. To each cost a law is fitted: a power of the size, or
    a fixed part and so much a piece, whichever errs less.
    """
    refuse_unwritable(Path(), json)
    if plot is not None:
        _refuse_no_place("--plot", plot)
    chosen = GrowthPlan(
        users=_numbers("--users", users),
        items=_numbers("--items", items),
        history=_numbers("--history", history),
        shape=Shape(hidden=hidden, latent=latent),
        threads=threads or available_cores(),
        seed=seed,
    )
    chosen = replace(chosen, **QUICK_GROWTH) if quick else chosen
    for axis in AXES:
        _refuse_few(f"--{axis}", getattr(chosen, axis))
    _write(json, {"scale": run_growth(chosen, plot, console)})


def _numbers(option: str, text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() and int(part) > 0 for part in parts):
        raise BadInputError(f"{option} {text!r}: write numbers above 0 with commas between them")
    return tuple(int(part) for part in parts)


def _refuse_few(option: str, sizes: Sequence[int]) -> None:
    try:
        refuse_few(sizes)
    except BadInputError as error:
        raise BadInputError(f"{option} {','.join(map(str, sizes))}: {error}") from error


def _refuse_no_place(option: str, file: Path) -> None:
    """Refuse what no file can be written to; nothing is made yet."""
    if file.is_dir():
        raise BadInputError(f"{option} {file} is a folder; name a file")
    there = next(path for path in (file, *file.absolute().parents) if path.exists())
    if there != file and not there.is_dir():
        raise BadInputError(f"{option} {file}: {there} is no folder")
    if not os.access(there, os.W_OK):
        raise BadInputError(f"{option} {file}: {there} cannot be written to")


def _modes(text: str) -> tuple[RetrievalMode, ...]:
    parts = [part.strip() for part in text.split(",")]
    known = [mode for mode in get_args(RetrievalMode) if mode != A_CHOICE]
    if not set(parts) <= set(known):
        raise BadInputError(f"--modes {text!r}: choose of {', '.join(known)}")
    return tuple(cast("RetrievalMode", part) for part in parts)


def _write(json: Path | None, record: dict[str, Any]) -> None:
    if json:
        write_json(json, plain({"environment": environment(), **record}))
