"""Enough SVG for plots in a page of ours: elements, scales, axes. Colours come from the page."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final, final

# One plot in a page; at the width of a phone it is drawn at .85 of this, its text 10 pixels high.
WIDTH: Final = 400
TEXT_HEIGHT: Final = 12
# Width of a letter at that height, bold, in the widest of the fonts that a page may get.
LETTER_WIDTH: Final = 7.6
# The field of a plot over an axis, and the whole with the axis below.
LEFT: Final = 44
TOP: Final = 24
BOTTOM: Final = 262
HEIGHT: Final = 300
MAX_TICKS: Final = 6
# A logarithmic axis that is longer has powers of ten only.
MIN_DECADES: Final = 1.7
COLOURS: Final = 8


def element(name: str, content: str = "", **attributes: float | str) -> str:
    """Write an element; ``class_`` and ``text_anchor`` become ``class`` and ``text-anchor``.

    Args:
        name: Of the element.
        content: SVG inside it.
        **attributes: Numbers are rounded to a hundredth.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_attribute(value)}"'
        for key, value in attributes.items()
    )
    return f"<{name}{written}>{content}</{name}>"


def text(content: str, x: float, y: float, **attributes: float | str) -> str:
    """Write a text; ``content`` is escaped."""
    return element("text", escape(content), x=x, y=y, **attributes)


def hint(content: str) -> str:
    """Write what a pointer over the element around shows; ``content`` is escaped."""
    return element("title", escape(content))


def plot(height: float, label: str, *parts: str) -> str:
    """Put parts into a drawing that is as wide as the page lets it be."""
    box = f"0 0 {WIDTH} {height:g}"
    return element("svg", "".join(parts), viewBox=box, role="img", aria_label=label)


def _attribute(value: float | str) -> str:
    return escape(value) if isinstance(value, str) else f"{round(value, 2):g}"


def style(number: int) -> str:
    """Give the class of a place in the palette: eight colours, then the same dashed."""
    return f"s{number % COLOURS}" + (" dashed" if number // COLOURS % 2 else "")


@final
@dataclass(frozen=True, slots=True)
class Scale:
    """From values to places: evenly, or evenly in the logarithm.

    Attributes:
        low: Value at ``start``; above 0 for a logarithmic scale.
        high: Value at ``stop``, above ``low``.
        start: Place of ``low``.
        stop: Place of ``high``.
        is_log: Whether the logarithm is even.
    """

    low: float
    high: float
    start: float
    stop: float
    is_log: bool = False

    def __call__(self, value: float) -> float:
        """Give the place of a value; values beyond the ends lie on them."""
        value = min(max(value, self.low), self.high)
        if self.is_log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.stop - self.start)

    def length(self, difference: float) -> float:
        """Give the distance between values that differ by so much, on an even scale."""
        return abs(self.stop - self.start) * difference / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Give values to write at the axis: multiples, or powers of ten and 2 and 5 times these."""
        if self.is_log:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            wide = math.log10(self.high / self.low) > MIN_DECADES
            steps = (1,) if wide else (1, 2, 5)
            ticks = [step * 10.0**power for power in range(first, last + 1) for step in steps]
            return [tick for tick in ticks if self.low <= tick <= self.high]
        step = 10.0 ** math.floor(math.log10((self.high - self.low) / 2))
        step *= next(m for m in (1, 2, 5, 10) if (self.high - self.low) / (step * m) <= MAX_TICKS)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]


@final
@dataclass(frozen=True, slots=True)
class Frame:
    """The field that data is drawn in."""

    x: Scale
    y: Scale

    def axes(self, x_title: str, y_title: str) -> str:
        """Draw grid lines with their values, and the titles: y above the field, x below it."""
        left, right, bottom = self.x.start, self.x.stop, self.y.start
        parts = [text(y_title, 4, TEXT_HEIGHT, class_="title")]
        parts.append(text(x_title, right, bottom + 30, class_="title", text_anchor="end"))
        for value, label in zip(self.y.ticks(), tick_labels(self.y.ticks()), strict=True):
            y = self.y(value)
            parts.append(element("line", x1=left, x2=right, y1=y, y2=y, class_="grid"))
            parts.append(text(label, left - 5, y + 4, text_anchor="end"))
        free_from = -math.inf  # the end of the label before: two on each other read as neither
        for value, label in zip(self.x.ticks(), tick_labels(self.x.ticks()), strict=True):
            x, half = self.x(value), LETTER_WIDTH * len(label) / 2
            parts.append(element("line", x1=x, x2=x, y1=bottom, y2=bottom + 4, class_="axis"))
            # At the edge of the drawing half a label would be cut off.
            anchor, end = ("end", x) if x + half > WIDTH else ("middle", x + half)
            if end - 2 * half > free_from:
                parts.append(text(label, x, bottom + 16, text_anchor=anchor))
                free_from = end
        parts.append(element("line", x1=left, x2=right, y1=bottom, y2=bottom, class_="axis"))
        return "".join(parts)


def tick_labels(ticks: Sequence[float]) -> list[str]:
    """Write the values of ticks, with as many digits as tell them apart."""
    steps = [high - low for low, high in itertools.pairwise(ticks)]
    if not steps or not math.isclose(min(steps), max(steps)):
        return [f"{tick:,.0f}" if tick >= 1 else f"{tick:g}" for tick in ticks]
    digits = max(0, -math.floor(math.log10(steps[0]) + 1e-9))
    return [f"{tick:,.{digits}f}" for tick in ticks]
