"""Scoring shows how many, how fast and how long, on a terminal and elsewhere."""

import io

from rich.console import Console

from training.scoring.progress import LINE_EVERY_S, ScoringProgress


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_elsewhere_a_line_now_and_then_has_the_rate_and_the_time_left() -> None:
    clock, text = Clock(), io.StringIO()
    with ScoringProgress(Console(file=text, width=40), clock) as progress:
        progress.on_read(1000)
        clock.now_s += LINE_EVERY_S
        progress.on_read(5000)
        progress.on_read(6000)
        progress.on_scoring()
        clock.now_s += LINE_EVERY_S
        progress.on_scored(1000, 6000)
        progress.on_scored(6000, 6000)
    assert text.getvalue().splitlines() == [
        "reading: 5,000 users",
        "scoring: 1,000 of 6,000 users, 100 users/s, ETA 50 s",
    ]


def test_a_terminal_has_a_bar_and_no_lines() -> None:
    clock, text = Clock(), io.StringIO()
    console = Console(file=text, force_terminal=True, width=120)
    with ScoringProgress(console, clock) as progress:
        progress.on_read(10)
        clock.now_s += 2
        progress.on_scored(10, 10)
    assert "10 of 10 users, 5 users/s" in text.getvalue()
    assert "ETA" not in text.getvalue()
