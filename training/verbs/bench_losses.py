"""``foldin bench losses``: what a sample of the catalogue costs, and what it gives."""

from pathlib import Path
from typing import Annotated

import typer

from service.settings import available_cores
from training.bench.environment import environment
from training.bench.interaction_log import LogShape
from training.bench.losses_race import LossesPlan
from training.bench.losses_report import MODEST_SHAPE, run_losses
from training.bench.runs import plain
from training.verbs.options import JsonOption, console, refuse_unwritable, write_json


def losses(
    log: Annotated[
        str | None, typer.Argument(help="A log to race on. [a drawn one]", metavar="DATA")
    ] = None,
    *,
    users: Annotated[int, typer.Option(min=1_000, help="Users of the large log.")] = 1_000_000,
    items: Annotated[int, typer.Option(min=1_000, help="Its items.")] = 1_000_000,
    hidden: Annotated[int, typer.Option(min=1, help="Hidden units in the race.")] = 600,
    latent: Annotated[int, typer.Option(min=1, help="Its latent dimensions.")] = 200,
    epochs: Annotated[int, typer.Option(min=1, help="Of each run of the race.")] = 15,
    batch_size: Annotated[int, typer.Option(min=1, help="Users a step.")] = 500,
    negatives: Annotated[int, typer.Option(min=1, help="Of the sampled losses.")] = 8_000,
    learning_rate: Annotated[float, typer.Option(help="Of the race.")] = 2e-3,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads. [one per core]")] = None,
    quick: Annotated[bool, typer.Option(help="Small logs and models, for a look.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Start of all chance.")] = 0,
    json: JsonOption = None,
) -> None:
    """Exact against sampled losses: users a second, peak memory, accuracy.

    One log for all; then an epoch on a drawn log that is too large for the exact loss. Each run
    is a process of its own.
    """
    refuse_unwritable(Path(), json)
    plan = LossesPlan(
        log,
        MODEST_SHAPE,
        hidden=hidden,
        latent=latent,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        negatives=negatives,
        threads=threads or available_cores(),
        seed=seed,
    )
    large = LogShape(users, items, clusters=max(20, items // 10_000), seed=seed)
    record = run_losses(plan, large, console, quick=quick)
    if json:
        write_json(json, plain({"environment": environment(), "losses": record}))
