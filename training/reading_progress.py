"""The reading of a log as a person sees it: a bar on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self, final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

QUIET_S: Final = 2.0  # who waits less long has nothing to ask
LINES_APART_S: Final = 10.0


@final
class ReadingProgress:
    """A watcher of the reading; a context manager, so that the bar is always put away.

    What is read within two seconds is not told of.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._started_s = clock()
        self._told_s = self._started_s + QUIET_S - LINES_APART_S
        self._bar = Progress(
            TextColumn("reading"),
            BarColumn(bar_width=10),
            TaskProgressColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),  # last: a narrow terminal cuts its end
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def on_part(self, rows: int, read_bytes: int, total_bytes: int) -> None:
        """Move the bar, or print a line if the last one is some time ago; the last part ends it."""
        now_s = self._clock()
        taken_s = now_s - self._started_s
        if taken_s < QUIET_S:
            return
        line = f"{rows:,} rows, {rows / taken_s:,.0f} rows/s"
        self._bar.start()
        self._bar.update(self._task, completed=read_bytes, total=total_bytes, description=line)
        is_last = read_bytes >= total_bytes
        if is_last:
            self._bar.stop()
        if is_last or (not self._console.is_terminal and now_s - self._told_s >= LINES_APART_S):
            self._told_s = now_s
            done = f"{taken_s:.0f} s" if is_last else f"{read_bytes / total_bytes:.0%}"
            self._console.print(f"reading: {done}, {line}", highlight=False, soft_wrap=True)
