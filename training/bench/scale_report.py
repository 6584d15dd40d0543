"""``foldin bench items``, ``plan`` and ``scale`` as a person sees them, and their records."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, TypeAlias

import orjson
from pydantic import TypeAdapter, ValidationError
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from training.bench.capacity import Capacity, Demand, planned
from training.bench.cost_growth import Growth, GrowthPlan, Point, laws, measured
from training.bench.growth_plot import growth_page
from training.bench.load import ClosedLoop
from training.bench.serving_scale import ScalePlan, ScaleRow, measure_sizes
from training.errors import BadInputError

Record: TypeAlias = dict[str, Any]

MEGABYTE: Final = 10**6
GIGABYTE: Final = 10**9


def run_items(plan: ScalePlan, driver: ClosedLoop, console: Console) -> Record:
    """Serve catalogues of several sizes, each way of retrieval in turn."""

    def tell(line: str) -> None:
        console.print(line, highlight=False)

    rows = list(measure_sizes(plan, driver, tell))
    console.print(items_table(rows))
    return {"plan": asdict(plan), "driver": driver.name, "rows": [asdict(row) for row in rows]}


def run_plan(record: Path, demand: Demand, console: Console) -> Record:
    """Plan with the largest catalogue that was measured in each mode.

    Raises:
        BadInputError: The file is no record of ``foldin bench items``.
    """
    largest = {row.mode: row for row in sorted(read_rows(record), key=lambda row: row.items)}
    plans = [planned(row, demand) for row in largest.values()]
    console.print(plan_table(plans, demand))
    return {"demand": asdict(demand), "plans": [asdict(plan) for plan in plans]}


def run_growth(plan: GrowthPlan, page: Path | None, console: Console) -> Record:
    """Measure how costs grow, fit laws, and draw them where that is wanted."""
    points: list[Point] = []
    for point in measured(plan):
        points.append(point)
        line = f"{point.size:,} {point.axis}: {point.cost} {point.amount:,.3g} {point.unit}"
        console.print(line, highlight=False)
    growths = laws(points)
    console.print(growth_table(growths))
    if page is not None:
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(growth_page(growths, _note(plan)), encoding="utf-8")
    return {"plan": asdict(plan), "growths": [asdict(growth) for growth in growths]}


def read_rows(record: Path) -> tuple[ScaleRow, ...]:
    """Read what ``foldin bench items --json`` wrote.

    Raises:
        BadInputError: The file is not there, or is no such record.
    """
    try:
        content = orjson.loads(record.read_bytes())
        rows = TypeAdapter(tuple[ScaleRow, ...]).validate_python(content["items"]["rows"])
    except OSError as error:
        raise BadInputError(f"{record} cannot be read: {error.strerror}") from error
    except (orjson.JSONDecodeError, KeyError, TypeError, ValidationError) as error:
        raise BadInputError(f"{record} is no record of foldin bench items") from error
    if not rows:
        raise BadInputError(f"{record} has no measurement")
    return rows


def items_table(rows: Iterable[ScaleRow]) -> Table:
    """Set sizes and ways beside each other, a line a number of connections."""
    memory = ("own\nMB", "file\nMB", "matrix\nMB")
    columns = ("ready\ns", *memory, "recall", "conn", "p50\nms", "p99\nms", "req/s", "CPU\nms")
    table = _table("items: one worker on catalogues of several sizes", ("items", "mode"), columns)
    for row in rows:
        sizes = (row.own_bytes, row.file_bytes, row.scanned_bytes)
        told = ("" if size is None else f"{size / MEGABYTE:,.0f}" for size in sizes)
        head = (
            f"{row.items / 1_000:g}k",
            row.mode,
            f"{row.ready_s:.1f}",
            *told,
            f"{row.recall:.3f}",
        )
        for position, load in enumerate(row.loads):
            cpu = "" if load.cpu_ms is None else _short(load.cpu_ms)
            figures = (*map(_short, (load.p50_ms, load.p99_ms, load.rps)), cpu)
            table.add_row(
                *(("",) * len(head) if position else head), str(load.connections), *figures
            )
    failed = sum(load.errors for row in rows for load in row.loads)
    if failed:
        table.caption = f"{failed:,} requests failed; the record has them by size and mode"
    return table


def plan_table(plans: Iterable[Capacity], demand: Demand) -> Table:
    """Set the ways to serve a demand beside each other."""
    columns = ("shards", "replicas", "processes", "GB each", "GB all", "cores", "p99 ms", "a 1,000")
    title = f"plan: {demand.users:,} users, {demand.items:,} items"
    table = _table(title, ("mode",), columns)
    redis_bytes = peak_rps = 0.0
    for plan in plans:
        sizes = (plan.memory_bytes / GIGABYTE, plan.total_memory_bytes / GIGABYTE)
        counts = (plan.shards, plan.replicas, plan.processes)
        table.add_row(
            plan.mode,
            *(f"{count:,}" for count in counts),
            *(f"{size:,.1f}" for size in sizes),
            *(f"{plan.cores:,.0f}", f"{plan.p99_ms:.1f}", f"{plan.cost_per_1000:.5f}"),
        )
        redis_bytes, peak_rps = plan.redis_bytes, plan.peak_rps
    table.caption = (
        f"{peak_rps:,.0f} requests/s in the busiest second; "
        f"Redis {redis_bytes / GIGABYTE:,.0f} GB, replicas included; "
        f"{demand.core_hour:g} a core-hour; p99 of one shard"
    )
    return table


def growth_table(growths: Iterable[Growth]) -> Table:
    """Tell of each cost how it grows along each axis."""
    columns = ("from", "to", "doubling", "exponent", "+-", "R2")
    texts = ("axis", "cost", "", "law")
    table = _table("scale: what each costs, and twice as much", texts, columns)
    for growth in growths:
        law = growth.law
        ends = map(_short, (growth.amounts[0], growth.amounts[-1]))
        exponent = (f"{law.exponent:.2f}", f"{law.exponent_error:.2f}")
        figures = (f"x{law.doubling:.2f}", *exponent, f"{law.r_squared:.3f}")
        table.add_row(growth.axis, growth.cost, growth.unit, law.form, *ends, *figures)
    return table


def _table(title: str, texts: Sequence[str], numbers: Sequence[str]) -> Table:
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 0, 0, 1), show_edge=False)
    for column in texts:
        table.add_column(column)
    for column in numbers:
        table.add_column(column, justify="right")
    return table


def _short(value: float) -> str:
    """Write three digits, so that all columns fit a terminal of 80."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004 - three digits


def _note(plan: GrowthPlan) -> str:
    shape = plan.shape
    return (
        f"Mult-VAE {shape.hidden}-{shape.latent}-{shape.hidden}, threads: {plan.threads}. "
        f"What does not vary: {shape.items:,} items, {plan.base_users:,} users, "
        f"{plan.length} items a history."
    )
