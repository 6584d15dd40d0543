"""Scoring as a person sees it: a bar on a terminal, a line now and then elsewhere."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self, final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

# Between two lines, where there is no bar.
LINE_EVERY_S: Final = 10.0


@final
class ScoringProgress:
    """A watcher of a run; a context manager, so that the bar is always put away.

    Args:
        console: To write to.
        clock: Seconds from any fixed point, never going back.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._line_at_s = clock() + LINE_EVERY_S
        self._scoring_since_s = clock()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[shown]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("reading", total=None, shown="")

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

    def on_read(self, users: int) -> None:
        """Show that so many users are read, in all."""
        self._bar.update(self._task, shown=f"{users:,} users")
        self._line(f"reading: {users:,} users")

    def on_scoring(self) -> None:
        """Take the time of scoring from here on."""
        self._scoring_since_s = self._clock()

    def on_scored(self, users: int, of_users: int) -> None:
        """Show that so many users are scored, in all; how fast, and how long it will take."""
        rate = users / max(1e-9, self._clock() - self._scoring_since_s)
        shown = f"{users:,} of {of_users:,} users, {rate:,.0f} users/s"
        self._bar.update(
            self._task, description="scoring", completed=users, total=of_users, shown=shown
        )
        self._line(f"scoring: {shown}, ETA {(of_users - users) / rate:.0f} s")

    def _line(self, text: str) -> None:
        now_s = self._clock()
        if self._console.is_terminal or now_s < self._line_at_s:
            return
        self._line_at_s = now_s + LINE_EVERY_S
        self._console.print(text, highlight=False, soft_wrap=True)
