"""A comparison as a person sees it: a bar over its fits, and a line for each that is done."""

import time
from types import TracebackType
from typing import Self, final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from training.comparison.contender import Contender
from training.comparison.run import Run
from training.state import EpochReport


@final
class ComparisonProgress:
    """A watcher of a comparison; a context manager, so that the bar is always put away."""

    def __init__(self, console: Console, fits: int, done: int) -> None:
        self._console = console
        self._fits = fits
        self._before = done
        self._done = done
        self._started = time.monotonic()
        self._name = ""
        self._part = ""
        self._bar = Progress(
            TextColumn("fit"),
            MofNCompleteColumn(),
            BarColumn(bar_width=10),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),  # last: a narrow terminal cuts its end
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=fits, completed=done)

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

    def on_start(self, contender: Contender, seed: int) -> None:
        """Show what is being fitted."""
        self._part = ""
        self._name = f"{contender.name} seed {seed}" if contender.has_chance else contender.name
        self._bar.update(self._task, description=self._name)

    def on_part(self, name: str, epochs: int) -> None:
        """Show which of several models is trained."""
        del epochs  # fits are counted, not epochs
        self._part = f"{name}  "
        self._bar.update(self._task, description=f"{self._name}  {name}")

    def on_step(self, users: float) -> None:
        """Keep the bar where it is: fits are counted, not users."""

    def on_epoch(self, report: EpochReport, best_epoch: int) -> None:
        """Show how far the fit is."""
        merit = "  ".join(
            f"{name} {report.valid[name]:.4f}"
            for name in ("ndcg@100", "rmse")
            if name in report.valid
        )
        line = f"{self._name}  {self._part}epoch {report.epoch}  {merit} (best {best_epoch})"
        self._bar.update(self._task, description=line)

    def on_run(self, run: Run) -> None:
        """Tell what came of a fit."""
        self._done += 1
        self._bar.update(self._task, completed=self._done)
        left = self._fits - self._done
        eta_s = (time.monotonic() - self._started) / (self._done - self._before) * left
        self._console.print(
            f"{self._done}/{self._fits} {self._name}: {_outcome(run)}"
            + ("" if self._console.is_terminal or not left else f"  ETA ~{eta_s:.0f} s"),
            highlight=False,
            soft_wrap=True,
            markup=False,
        )


def _outcome(run: Run) -> str:
    if run.failed:
        return f"failed: {run.failed}"
    figures = "  ".join(
        f"{name} {run.test[name]:.4f} (validation {run.valid[name]:.4f})"
        for name in ("ndcg@100", "rmse")
        if name in run.test
    )
    epochs = f"  best epoch {run.best_epoch} of {run.epochs}" if run.epochs else ""
    return f"{figures}{epochs}  {run.seconds:.1f} s"
