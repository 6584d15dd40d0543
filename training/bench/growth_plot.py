"""How costs grow, as a page: dots are measured, lines the laws; both axes are logarithmic."""

import itertools
from collections.abc import Sequence
from typing import Final

from training.bench.cost_growth import AXES, Axis, Growth, Unit
from training.comparison.labels import spread
from training.comparison.page import page, section, side_by_side
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

TITLES: Final[dict[Axis, tuple[str, str]]] = {
    "users": ("Users", "users of the log"),
    "items": ("Items", "items of the catalogue"),
    "history": ("Length of histories", "items of a history"),
}
UNITS: Final[dict[Unit, str]] = {"s": "seconds", "ms": "milliseconds", "MB": "megabytes"}
DOT_RADIUS: Final = 3.5
NAMES_GAP: Final = 12
# Places that a law's line goes through: laws with a fixed part are bent on these axes.
STEPS: Final = 24
# Costs that hardly grow get room, too: noise shall look like noise.
LEAST_SPAN: Final = 10.0


def growth_page(growths: Sequence[Growth], note: str) -> str:
    """Draw all costs, axis by axis, as a whole HTML document.

    Args:
        growths: At least one.
        note: What was measured, in a line.
    """
    sections = [_section(axis, [g for g in growths if g.axis == axis], note) for axis in AXES]
    return page("How cost grows", "<h1>How cost grows</h1>" + "".join(sections))


def growth_plot(growths: Sequence[Growth], x_title: str) -> str:
    """Draw costs of one unit along one axis, each with its law and what doubling costs.

    Args:
        growths: At least one, all along the same axis and in the same unit.
        x_title: What was varied.
    """
    names = [f"{growth.cost} x{growth.law.doubling:.2f}" for growth in growths]
    names_width = NAMES_GAP + LETTER_WIDTH * max(len(name) for name in names)
    sizes = sorted(set(itertools.chain.from_iterable(growth.sizes for growth in growths)))
    amounts = list(itertools.chain.from_iterable(growth.amounts for growth in growths))
    low, high = min(amounts) / 1.5, max(amounts) * 1.5
    frame = Frame(
        Scale(sizes[0] / 1.2, sizes[-1], LEFT, WIDTH - names_width, is_log=True),
        Scale(low, max(high, LEAST_SPAN * low), BOTTOM, TOP, is_log=True),
    )
    ends = [frame.y(growth.law(sizes[-1])) for growth in growths]
    places = spread(ends, TEXT_HEIGHT, TOP, BOTTOM)
    drawn = [
        _curve(growth, name, (number, place), frame)
        for number, (growth, name, place) in enumerate(zip(growths, names, places, strict=True))
    ]
    y_title = UNITS[growths[0].unit]
    return plot(HEIGHT, f"{y_title} by {x_title}", frame.axes(x_title, y_title), *drawn)


def _section(axis: Axis, growths: Sequence[Growth], note: str) -> str:
    title, x_title = TITLES[axis]
    plots = [
        growth_plot(group, x_title)
        for unit in UNITS
        if (group := [growth for growth in growths if growth.unit == unit])
    ]
    told = f"{note} Beside each name: what twice as much costs, at the right end."
    return section(title, told, side_by_side(*plots))


def _curve(growth: Growth, name: str, label: tuple[int, float], frame: Frame) -> str:
    number, label_y = label
    law, sizes = growth.law, growth.sizes
    ratio = sizes[-1] / sizes[0]
    places = [sizes[0] * ratio ** (step / STEPS) for step in range(STEPS + 1)]
    points = [(frame.x(x), frame.y(law(x))) for x in places]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = [
        element("circle", cx=frame.x(size), cy=frame.y(amount), r=DOT_RADIUS)
        for size, amount in zip(sizes, growth.amounts, strict=True)
    ]
    words = f"{name}; exponent {law.exponent:.2f} +- {law.exponent_error:.2f}"
    x = frame.x.stop + NAMES_GAP
    parts = [
        element("polyline", hint(words), points=path, class_="line"),
        *dots,
        text(name, x, label_y + 4, class_="name"),
    ]
    return element("g", "".join(parts), class_=style(number))
