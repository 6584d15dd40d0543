"""``foldin bench losses`` as a person sees it, and its record for JSON."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from training.bench.interaction_log import LogShape
from training.bench.losses_race import (
    LossesPlan,
    LossesRun,
    Standing,
    Start,
    large_plan,
    race_losses,
    run_process,
    standings,
)
from training.memory import told

# What --quick makes of the plans: some minutes on two cores.
QUICK_SHAPE: Final = LogShape(users=5_000, items=20_000, clusters=20)
QUICK: Final[dict[str, Any]] = {"hidden": 100, "latent": 50, "epochs": 4, "held_out": 500}
QUICK_LARGE: Final = LogShape(users=50_000, items=50_000, clusters=50)
# Without a log to train on, one of the size of Gowalla's.
MODEST_SHAPE: Final = LogShape(users=30_000, items=40_000, clusters=40)


def run_losses(
    plan: LossesPlan, large: LogShape, console: Console, *, quick: bool, start: Start = run_process
) -> dict[str, Any]:
    """Race the losses on one log, then train one epoch on a large one.

    Args:
        plan: Of the race.
        large: The log that is too large for the exact loss.
        console: Gets a line a run, and the tables.
        quick: Take small logs and a small model instead.
        start: Trains a contestant.
    """
    if quick:
        plan, large = replace(plan, shape=QUICK_SHAPE, **QUICK), QUICK_LARGE

    def tell(run: LossesRun) -> None:
        console.print(_line(run), highlight=False, soft_wrap=True)

    placed = standings(race_losses(plan, tell, start))
    console.print(losses_table(placed))
    whole = large_plan(plan, large)
    run = start(whole, "sampled")
    tell(run)
    console.print(large_table(run))
    return {
        "plan": asdict(plan),
        "runs": [asdict(standing) for standing in placed],
        "large_plan": asdict(whole),
        "large": asdict(run),
    }


def losses_table(placed: Sequence[Standing]) -> Table:
    """Set speed, memory and accuracy of the contestants side by side."""
    first = placed[0].run
    title = f"losses: {first.users:,} users, {first.items:,} items, {len(first.curve)} epochs"
    columns = ("loss", "users/s", "ratio", "peak memory", "ndcg@100", "ratio")
    table = _table(title, columns)
    for standing in placed:
        run = standing.run
        table.add_row(
            run.contestant,
            f"{run.users_per_second:,.0f}",
            f"{standing.speed_ratio:.2f}",
            told(run.peak_bytes),
            f"{run.valid['ndcg@100']:.4f}",
            f"{standing.quality_ratio:.3f}",
        )
    return table


def large_table(run: LossesRun) -> Table:
    """Set the model of the large log beside its most popular items."""
    title = f"one epoch: {run.users:,} users, {run.items:,} items, {run.interactions:,} pairs"
    table = _table(title, ("", "recall@20", "recall@50", "ndcg@100"))
    for name, figures in (("popularity", run.popularity), (run.contestant, run.valid)):
        shown = (f"{figures[key]:.4f}" for key in ("recall@20", "recall@50", "ndcg@100"))
        table.add_row(name, *shown)
    table.caption = (
        f"{run.train_s:,.0f} s, {run.users_per_second:,.0f} users/s; peak {told(run.peak_bytes)}, "
        f"{told(run.baseline_bytes)} of it before the training"
    )
    return table


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 0, 0, 1), show_edge=False)
    for position, column in enumerate(columns):
        table.add_column(column, justify="right" if position else "left")
    return table


def _line(run: LossesRun) -> str:
    return (
        f"{run.contestant}: {run.users_per_second:,.0f} users/s, peak {told(run.peak_bytes)}, "
        f"ndcg@100 {run.valid['ndcg@100']:.4f}"
    )
