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
from training.metrics import RankingMetrics
from training.state import EpochReport

COLUMNS: Final = ("recall@20", "recall@50", "ndcg@10", "ndcg@100")


@final
class TrainingProgress:
    """A watcher of the training loop; a context manager, so that the bar is always put away."""

    def __init__(self, console: Console, epochs: int, users: int) -> None:
        self._console = console
        self._epochs = epochs
        self._users = users
        self._bar = Progress(
            TextColumn("epoch"),
            MofNCompleteColumn(),
            BarColumn(bar_width=10),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),  # last: a narrow terminal cuts its end
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=epochs)

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

    def on_step(self, users: float) -> None:
        """Move the bar by a part of an epoch."""
        self._bar.advance(self._task, users / self._users)

    def on_epoch(self, report: EpochReport, best_epoch: int) -> None:
        """Show the figures of an epoch."""
        annealing = f"beta {report.beta:.3f}  " if report.regularizer else ""
        line = (
            f"loss {report.loss:.2f}  {annealing}"
            f"ndcg@100 {report.valid['ndcg@100']:.4f} (best {best_epoch})  "
            f"{self._users / report.train_s:,.0f} users/s"
        )
        self._bar.update(self._task, completed=report.epoch, description=line)
        if not self._console.is_terminal:
            epoch_s = report.train_s + report.eval_s
            eta_s = (self._epochs - report.epoch) * epoch_s
            self._console.print(
                f"epoch {report.epoch}/{self._epochs}  {line}  ETA <= {eta_s:.0f} s",
                highlight=False,
                soft_wrap=True,
            )


def results_table(experiment: Experiment) -> Table:
    """Set the model beside its rivals, on test users."""
    rivals = {name: parts["test"] for name, parts in experiment.baselines.items()}
    rows = {**rivals, experiment.config.model: experiment.metrics["test"]}
    table = metrics_table(rows, "test users")
    if not any(name.startswith("ease") for name in rivals):
        table.caption = f"EASE left out: more than {EASE_MAX_ITEMS:,} items"
    return table


def metrics_table(rows: Mapping[str, RankingMetrics], title: str) -> Table:
    """Set metrics in rows by name, with the number of users that they are over."""
    left_out = max(metrics.users_without_target for metrics in rows.values())
    table = Table("", *COLUMNS, "users", title=f"{title} ({left_out:,} without a target left out)")
    for name, metrics in rows.items():
        figures = [f"{metrics.values[column]:.4f}" for column in COLUMNS]
        table.add_row(name, *figures, f"{metrics.users:,}")
    return table
