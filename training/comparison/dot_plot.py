"""Points with names: accuracy against the time that it takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

from training.comparison.labels import Box, free_box
from training.comparison.svg import (
    BOTTOM,
    HEIGHT,
    LEFT,
    LETTER_WIDTH,
    TOP,
    WIDTH,
    Frame,
    Scale,
    element,
    hint,
    plot,
    style,
    text,
)

DOT_RADIUS: Final = 4.5
# What lies below this share of the best is drawn at the edge: popularity would flatten the rest.
SHOWN_SHARE: Final = 0.7


@final
@dataclass(frozen=True, slots=True)
class Dot:
    """A named point with a deviation along y."""

    name: str
    style: int
    x: float
    y: float
    deviation: float


def dot_plot(dots: Sequence[Dot], x_title: str, y_title: str) -> str:
    """Draw points over a logarithmic x, their names where there is room.

    Args:
        dots: At least one.
        x_title: What x is.
        y_title: What y is.
    """
    best = max(dot.y for dot in dots)
    shown = [dot for dot in dots if dot.y >= SHOWN_SHARE * best]
    low = min(dot.y - dot.deviation for dot in shown)
    high = max(dot.y + dot.deviation for dot in shown)
    margin = max(0.08 * (high - low), 1e-4)
    times = [dot.x for dot in dots]
    frame = Frame(
        Scale(min(times) / 1.5, max(times) * 8, LEFT, WIDTH - 8, is_log=True),
        Scale(low - 2 * margin, high + margin, BOTTOM, TOP),
    )
    # What lies far below is drawn at the edge, off the axis.
    height_of = {dot.name: frame.y(max(dot.y, low - margin)) for dot in dots}
    taken = [_around(frame.x(dot.x), height_of[dot.name]) for dot in dots]
    drawn: list[str] = []
    for dot in sorted(dots, key=lambda dot: -dot.y):
        label = dot.name if dot in shown else f"{dot.name} {dot.y:.3f} ↓"
        x, y = frame.x(dot.x), height_of[dot.name]
        box = free_box(x, y, LETTER_WIDTH * len(label), taken)
        taken.append(box)
        drawn.append(_dot(dot, frame, y, text(label, box[0], box[3] - 3, class_="name")))
    return plot(HEIGHT, f"{y_title} by {x_title}", frame.axes(x_title, y_title), *drawn)


def _dot(dot: Dot, frame: Frame, y: float, label: str) -> str:
    x, half = frame.x(dot.x), frame.y.length(dot.deviation)
    told = hint(f"{dot.name}: {dot.y:.4f}, {dot.x:.1f}")
    whisker = element("line", x1=x, x2=x, y1=y + half, y2=y - half, class_="whisker")
    circle = element("circle", told, cx=x, cy=y, r=DOT_RADIUS)
    return element("g", whisker + circle + label, class_=style(dot.style))


def _around(x: float, y: float) -> Box:
    return x - DOT_RADIUS, y - DOT_RADIUS, x + DOT_RADIUS, y + DOT_RADIUS
