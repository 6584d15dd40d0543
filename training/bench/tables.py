"""The figures of the benches as tables for a terminal."""

from collections.abc import Iterable, Sequence
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.table import Table

from training.bench.decode import DecodeRow, ExactnessRow
from training.bench.scoring import ScoreRow
from training.bench.serving import ServeReport
from training.bench.training_race import CONTESTANTS, TrainSummary

MEGABYTE: Final = 1 << 20
NUM_SERVERS: Final = 3


def decode_table(rows: Iterable[DecodeRow]) -> Table:
    """Set every mode beside the float32 product."""
    columns = ("mode", "batch", "k", "ms", "torch fp32 ms", "times as fast")
    table = _table("decode: the catalogue for a batch of queries", columns, text=1)
    for row in rows:
        times = (f"{row.subject_ms:.2f}", f"{row.reference_ms:.2f}", f"{row.ratio:.2f}")
        table.add_row(row.mode, str(row.batch), str(row.k), *times)
    return table


def exactness_table(rows: Iterable[ExactnessRow]) -> Table:
    """Tell how many lists were the exact ones."""
    columns = ("mode", "k", "users", "identical lists", "escalated rows")
    table = _table("decode: lists against float64 scores", columns, text=1)
    for row in rows:
        shares = (f"{row.identical:.3%}", _percent(row.escalated))
        table.add_row(row.mode, str(row.k), f"{row.users:,}", *shares)
    return table


def score_table(rows: Iterable[ScoreRow], *, has_implicit: bool) -> Table:
    """Set batch scoring beside its references."""
    columns = ("", "users/s", "x dense", "x implicit", "lists with the same items")
    table = _table("score: histories in, lists out", columns, text=1)
    for row in rows:
        ratios = (f"{row.ratio_to_dense:.2f}", _times(row.ratio_to_implicit))
        table.add_row(row.name, f"{row.users_per_second:,.0f}", *ratios, f"{row.same_items:.2%}")
    if not has_implicit:
        table.caption = "implicit is not installed: pip install implicit"
    return table


def serve_tables(report: ServeReport) -> list[Table]:
    """Set the service beside its rivals; then memory and start; then its stages."""
    return [_load_table(report), _process_table(report), _stage_table(report)]


def train_table(summary: TrainSummary) -> Table:
    """Set the shipped loop beside the dense one."""
    epochs = range(1, len(summary.losses["foldin"]) + 1)
    columns = ("", "users/s", "peak MB", *(f"loss {epoch}" for epoch in epochs))
    table = _table("train: Mult-VAE, exact loss", columns, text=1)
    for name in CONTESTANTS:
        losses = (f"{loss:.3f}" for loss in summary.losses[name])
        peak = f"{summary.peak_bytes[name] / MEGABYTE:,.0f}"
        table.add_row(name, f"{summary.users_per_second[name]:,.0f}", peak, *losses)
    verdict = "equal within noise" if summary.equal_losses else "NOT EQUAL"
    table.caption = (
        f"{summary.speedup:.2f} times as fast; loss curves {verdict}: at most "
        f"{summary.loss_gap:.3%} apart, seeds make {summary.loss_noise:.3%}, "
        f"training made {summary.loss_fall:.3%}"
    )
    return table


def _load_table(report: ServeReport) -> Table:
    workers = "1 worker" if report.workers == 1 else f"{report.workers} workers"
    title = f"serve: {workers} each, closed loops driven by {report.driver}"
    figures = ("rps", "p50 ms", "p99 ms", "p99\n/ p50", "CPU s\n/ 1,000")
    ratios = ("x ceil-\ning", "x naive", "p50 x\nnaive")
    table = _table(title, ("load", "server", *figures, *ratios), text=2)
    for position, row in enumerate(report.rows):
        latency = (f"{row.p50_ms:.2f}", f"{row.p99_ms:.2f}", _times(_over(row.p99_ms, row.p50_ms)))
        cost = "" if row.cpu_s_per_1000 is None else f"{row.cpu_s_per_1000:.3f}"
        table.add_row(
            *(row.load, row.server, f"{row.rps:,.0f}", *latency, cost),
            *(_times(row.rps_to_ceiling), _times(row.rps_to_naive), _times(row.p50_to_naive)),
            end_section=position % NUM_SERVERS == NUM_SERVERS - 1,
        )
    failed = sum(row.errors for row in report.rows)
    if failed:
        table.caption = f"{failed:,} requests failed; the record has them by server and load"
    return table


def _process_table(report: ServeReport) -> Table:
    columns = ("server", "start to ready s", "PSS MB after the load")
    table = _table("serve: start and memory, workers together", columns, text=1)
    for name, ready_s in report.ready_s.items():
        size_bytes = report.pss_bytes[name]
        size = "" if size_bytes is None else f"{size_bytes / MEGABYTE:,.0f}"
        table.add_row(name, f"{ready_s:.2f}", size)
    return table


def _stage_table(report: ServeReport) -> Table:
    columns = ("stage", "times", "mean ms", "us a request")
    table = _table("serve: where the time goes, at the most connections", columns, text=1)
    for row in report.stages:
        figures = (f"{row.mean_ms:.3f}", f"{row.us_per_request:,.0f}")
        table.add_row(row.stage, f"{row.times:,}", *figures)
    if report.mean_batch is not None:
        table.caption = f"{report.mean_batch:.1f} rows a batch of the engine"
    return table


def _table(title: str, columns: Sequence[str], text: int) -> Table:
    """Make a table whose columns are numbers, but for the first ones."""
    # Without frames ten columns of numbers fit a terminal of 80.
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 0, 0, 1), show_edge=False)
    for position, column in enumerate(columns):
        table.add_column(column, justify="left" if position < text else "right")
    return table


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"


def _percent(share: float | None) -> str:
    return "not told" if share is None else f"{share:.2%}"


def _over(value: float, reference: float) -> float | None:
    return value / reference if reference > 0 else None
