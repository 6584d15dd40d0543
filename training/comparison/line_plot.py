"""Lines over epochs: learning curves, beta, the KL term."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, final

from training.comparison.labels import spread
from training.comparison.svg import (
    BOTTOM,
    HEIGHT,
    LEFT,
    LETTER_WIDTH,
    TEXT_HEIGHT,
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

# Between the end of the longest line and the names of all.
NAMES_GAP: Final = 14
NAMES_MARGIN: Final = 4


@final
@dataclass(frozen=True, slots=True)
class Line:
    """A named line over the epochs 1, 2, 3 and so on; ``style`` is its place in the palette."""

    name: str
    style: int
    values: tuple[float, ...]


def line_plot(
    lines: Sequence[Line], y_title: str, y_axis: Literal["from zero", "range", "log"]
) -> str:
    """Draw lines over epochs, their names at their ends.

    Args:
        lines: At least one, each with at least one value.
        y_title: What is drawn.
        y_axis: ``range``: from the least value to the greatest. ``log``: logarithmic, where all
            values are above 0; else as ``from zero``.
    """
    longest = max(len(line.values) for line in lines)
    names_width = NAMES_GAP + LETTER_WIDTH * max(len(line.name) for line in lines) + NAMES_MARGIN
    frame = Frame(
        Scale(0, max(longest, 2), LEFT, WIDTH - names_width),
        _y_scale(sorted(itertools.chain.from_iterable(line.values for line in lines)), y_axis),
    )
    ends = [frame.y(line.values[-1]) for line in lines]
    labels = spread(ends, TEXT_HEIGHT, TOP, BOTTOM)
    drawn = [_line(line, frame, y) for line, y in zip(lines, labels, strict=True)]
    return plot(HEIGHT, f"{y_title} by epoch", frame.axes("epoch", y_title), *drawn)


def _y_scale(values: Sequence[float], y_axis: str) -> Scale:
    low, high = values[0], values[-1]
    is_log = y_axis == "log" and low > 0
    if is_log:
        low /= 1.1
    elif y_axis != "range":
        low = min(0.0, low)
    return Scale(low, max(high, 1.01 * low, low + 1e-6), BOTTOM, TOP, is_log)


def _line(line: Line, frame: Frame, label_y: float) -> str:
    points = [(frame.x(epoch), frame.y(value)) for epoch, value in enumerate(line.values, 1)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    name = hint(line.name)
    end_x, end_y = points[-1]
    label_x = frame.x.stop + NAMES_GAP
    leader = element(
        "path", d=f"M{end_x:.1f} {end_y:.1f}L{label_x - 3:.1f} {label_y:.1f}", class_="leader"
    )
    return element(
        "g",
        leader
        + element("polyline", name, points=path, class_="line")
        + text(line.name, label_x, label_y + 4, class_="name"),
        class_=style(line.style),
    )
