import io

import pytest
from rich.console import Console

from training.reading_progress import ReadingProgress


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def told(*parts: tuple[float, int, int], terminal: bool = False) -> str:
    """What is said of parts: seconds since the start, rows, and bytes of 100."""
    console = Console(file=io.StringIO(), width=120, force_terminal=terminal)
    clock = Clock()
    with ReadingProgress(console, clock) as progress:
        for at_s, rows, read_bytes in parts:
            clock.now_s = 100 + at_s
            progress.on_part(rows, read_bytes, 100)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_quick_reading_is_not_told_of() -> None:
    assert told((0.5, 10, 50), (1.9, 20, 100)) == ""


def test_a_slow_reading_has_a_line_every_ten_seconds_and_one_at_the_end() -> None:
    lines = told(
        (1.0, 100, 10), (2.0, 2_000, 20), (11.9, 11_000, 30), (12.0, 12_000, 90), (20, 20_000, 100)
    )
    assert lines.splitlines() == [
        "reading: 20%, 2,000 rows, 1,000 rows/s",
        "reading: 90%, 12,000 rows, 1,000 rows/s",
        "reading: 20 s, 20,000 rows, 1,000 rows/s",
    ]


def test_a_terminal_has_a_bar_and_a_line_at_the_end() -> None:
    screen = told((4.0, 8_000, 40), (5.0, 10_000, 100), terminal=True)
    assert "100%" in screen
    assert "\nreading: 5 s, 10,000 rows, 2,000 rows/s\n" in screen.replace("\x1b[1A\x1b[2K", "\n")
    assert "reading: 40%" not in screen


@pytest.mark.parametrize("terminal", [False, True])
def test_the_bar_is_put_away_after_an_error(terminal: bool) -> None:
    console = Console(file=io.StringIO(), force_terminal=terminal)
    clock = Clock()
    progress = ReadingProgress(console, clock)

    def fail() -> None:
        with progress:
            clock.now_s += 5
            progress.on_part(5, 5, 100)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert progress._bar.finished or not progress._bar.live.is_started
