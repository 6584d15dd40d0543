"""Training as a person sees it: a bar on a terminal, plain lines elsewhere, a table at the end."""

from collections.abc import Mapping
from types import TracebackType
from typing import Final, Self, final

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from training.baselines import EASE_MAX_ITEMS
from training.experiment import Experiment
from training.measurement import Figures
from training.state import EpochReport

COLUMNS: Final[tuple[str, ...]] = ("recall@20", "recall@50", "ndcg@10", "ndcg@100")
RATING_COLUMNS: Final[tuple[str, ...]] = ("rmse", "mae")


@final
class TrainingProgress:
    """A watcher of the training loop; a context manager, so that the bar is always put away."""

    def __init__(self, console: Console, epochs: int, users: int) -> None:
        self._console = console
        self._epochs = epochs
        self._users = users
        self._part = ""
        self._bar = Progress(
            TextColumn("{task.fields[part]}epoch"),
            MofNCompleteColumn(),
            BarColumn(bar_width=10),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),  # last: a narrow terminal cuts its end
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=epochs, part="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def on_part(self, name: str, epochs: int) -> None:
        """Begin anew, for one of several models."""
        self._part, self._epochs = f"{name} ", epochs
        self._bar.reset(self._task, total=epochs, description="", part=self._part)

    def on_step(self, users: float) -> None:
        """Move the bar by a part of an epoch."""
        self._bar.advance(self._task, users / self._users)

    def on_epoch(self, report: EpochReport, best_epoch: int) -> None:
        """Show the figures of an epoch."""
        annealing = f"beta {report.beta:.3f}  " if report.regularizer else ""
        line = (
            f"loss {report.loss:.2f}  {annealing}"
            f"{_selecting(report)} (best {best_epoch})  "
            f"{self._users / report.train_s:,.0f} users/s"
        )
        self._bar.update(self._task, completed=report.epoch, description=line)
        if not self._console.is_terminal:
            epoch_s = report.train_s + report.eval_s
            eta_s = (self._epochs - report.epoch) * epoch_s
            self._console.print(
                f"{self._part}epoch {report.epoch}/{self._epochs}  {line}  ETA <= {eta_s:.0f} s",
                highlight=False,
                soft_wrap=True,
            )


def results_table(experiment: Experiment) -> Table:
    """Set the model beside its rivals, on test users or test ratings."""
    name = experiment.config.model
    rows = {rival: parts["test"] for rival, parts in experiment.baselines.items()}
    rows[name] = experiment.metrics["test"]
    if "test_folded_in" in experiment.metrics:
        rows[f"{name}, folded in"] = experiment.metrics["test_folded_in"]
    if _are_ratings(rows):
        return metrics_table(rows, "test ratings")
    table = metrics_table(rows, "test users")
    if not any(rival.startswith("ease") for rival in rows if rival != name):
        table.caption = f"EASE left out: more than {EASE_MAX_ITEMS:,} items, or than memory holds"
    return table


def metrics_table(rows: Mapping[str, Figures], title: str) -> Table:
    """Set metrics in rows by name, with the number of users or ratings that they are over."""
    figures = {name: metrics.to_dict() for name, metrics in rows.items()}
    columns, counted, left_out = COLUMNS, "users", "users_without_target"
    note = "without a target left out"
    if _are_ratings(rows):
        columns, counted, left_out = RATING_COLUMNS, "ratings", "strays"
        note = "of users or items unknown in training"
    most = max(row[left_out] for row in figures.values())
    table = Table("", *columns, counted, title=f"{title} ({most:,} {note})")
    for name, row in figures.items():
        shown = [f"{row[column]:.4f}" for column in columns]
        table.add_row(name, *shown, f"{row[counted]:,}")
    return table


def _are_ratings(rows: Mapping[str, Figures]) -> bool:
    return all("rmse" in metrics.to_dict() for metrics in rows.values())


def _selecting(report: EpochReport) -> str:
    """Show the validation figure that selects the epoch."""
    name = "rmse" if "rmse" in report.valid else "ndcg@100"
    return f"{name} {report.valid[name]:.4f}"
