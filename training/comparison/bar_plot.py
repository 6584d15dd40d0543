"""Values as bars, with names: accuracy by the length of histories."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

from training.comparison.svg import LETTER_WIDTH, WIDTH, Scale, element, plot, text

BAR_HEIGHT: Final = 18
# Between a name and its bar, and what the figures need.
GAP: Final = 6
FIGURES_WIDTH: Final = 52


@final
@dataclass(frozen=True, slots=True)
class Bar:
    """A named value with its deviation."""

    name: str
    value: float
    deviation: float


def bar_plot(bars: Sequence[Bar], label: str) -> str:
    """Draw values as bars, one below the other, names left and figures right of them.

    Args:
        bars: At least one.
        label: What is drawn.
    """
    left = LETTER_WIDTH * max(len(bar.name) for bar in bars) + GAP
    best = max(bar.value for bar in bars)
    best_text = _figures(best)
    scale = Scale(0, max(best, 1e-6), left, WIDTH - FIGURES_WIDTH)
    drawn = []
    for number, bar in enumerate(bars):
        top = number * BAR_HEIGHT
        baseline = top + 0.5 * BAR_HEIGHT + 4
        end = scale(bar.value)
        kind = "bar best" if _figures(bar.value) == best_text else "bar"
        drawn += [
            text(bar.name, left - GAP, baseline, text_anchor="end"),
            element(
                "rect", x=left, y=top + 3, width=end - left, height=BAR_HEIGHT - 6, class_=kind
            ),
            text(_figures(bar.value), WIDTH - 4, baseline, text_anchor="end"),
        ]
        if bar.deviation:
            ends = (scale(bar.value - bar.deviation), scale(bar.value + bar.deviation))
            y = top + BAR_HEIGHT / 2
            drawn.append(element("line", x1=ends[0], x2=ends[1], y1=y, y2=y, class_="whisker"))
    return plot(BAR_HEIGHT * len(bars), label, *drawn)


def _figures(value: float) -> str:
    return f"{value:.3f}"
