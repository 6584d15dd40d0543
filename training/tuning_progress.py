"""A search as a person sees it: a line for every run, and on a terminal a bar under them."""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self, final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from training.config import TrainingConfig
from training.state import EpochReport
from training.study import Outcome
from training.tune import Search


@final
class TuningProgress:
    """A watcher of every run and the hearer of every trial; a context manager."""

    def __init__(self, console: Console, search: Search, users: int) -> None:
        self._console = console
        self._search = search
        self._users = users
        self._epochs = TrainingConfig.of(search.settings).epochs
        self._heard = 0
        self._started_s = time.monotonic()
        self._bar = Progress(
            TextColumn("trial"),
            MofNCompleteColumn(),
            BarColumn(bar_width=10),
            TextColumn("{task.description}"),  # last: a narrow terminal cuts its end
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=search.num_trials)
        self._epochs_done = 0.0

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
        """Tell how far the run is; models without epochs count their own steps in users, too."""
        self._epochs_done += users / self._users
        self._bar.update(
            self._task, description=f"epoch {self._epochs_done:.1f} of {self._epochs} at most"
        )

    def on_epoch(self, report: EpochReport, best_epoch: int) -> None:
        """Say nothing: every step has been told, and a line an epoch would be too much."""

    def on_trial(self, outcome: Outcome, best: Outcome | None) -> None:
        """Print a line for a finished run."""
        self._heard += 1
        self._epochs_done = 0.0
        done = outcome.number + 1
        self._console.print(
            f"trial {done}/{self._search.num_trials}  {self._result(outcome)}"
            f"{self._best(best)}  {outcome.facts['seconds']:.0f} s{self._eta(outcome)}  "
            f"{shown(outcome.settings)}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        self._bar.update(self._task, completed=done, description="")

    def _result(self, outcome: Outcome) -> str:
        if outcome.value is None:
            return f"failed: {outcome.facts.get('reason', '')}"
        value = f"{self._search.metric} {outcome.value:.4f}"
        stopped = f" stopped after epoch {outcome.facts['epochs']}"
        return value + (stopped if outcome.state == "pruned" else "")

    def _best(self, best: Outcome | None) -> str:
        return f"  (best {best.value:.4f}, trial {best.number + 1})" if best is not None else ""

    def _eta(self, outcome: Outcome) -> str:
        left = self._search.num_trials - outcome.number - 1
        mean_s = (time.monotonic() - self._started_s) / self._heard
        return f"  ETA {left * mean_s:.0f} s" if left > 0 else ""


def shown(settings: Mapping[str, Any]) -> str:
    """Write the settings of a trial in a few words; none are the preset's."""
    if not settings:
        return "preset"
    return " ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in settings.items()
    )
