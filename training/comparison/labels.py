"""Where the names of points and lines go, so that they do not cover each other."""

from collections.abc import Sequence
from typing import Final

from training.comparison.svg import BOTTOM, LEFT, TEXT_HEIGHT, TOP, WIDTH

# Left, top, right, bottom.
Box = tuple[float, float, float, float]

# Between a point and its name, and how far above or below the point the name may go.
GAP: Final = 8
STEPS: Final = (0, -10, 10, -20, 20, -30, 30)


def spread(places: Sequence[float], least: float, top: float, bottom: float) -> list[float]:
    """Move places apart, so that labels of a height do not overlap; their order stays.

    Args:
        places: Where labels want to be.
        least: Distance between two.
        top: Least place.
        bottom: Greatest place, as far as there is room for all.
    """
    order = sorted(range(len(places)), key=lambda index: places[index])
    moved = list(places)
    floor = top
    for index in order:
        moved[index] = max(places[index], floor)
        floor = moved[index] + least
    ceiling = bottom
    for index in reversed(order):
        moved[index] = max(min(moved[index], ceiling), top)
        ceiling = moved[index] - least
    return moved


def free_box(x: float, y: float, width: float, taken: Sequence[Box]) -> Box:
    """Find room for a name beside its point: the first place that is free, or the least taken.

    Args:
        x: Of the point.
        y: Of the point.
        width: Of the name.
        taken: What may not be covered.
    """
    half = TEXT_HEIGHT / 2
    places = [(side, y + step) for step in STEPS for side in (x + GAP, x - GAP - width)]
    boxes = [
        (left, middle - half, left + width, middle + half)
        for left, middle in places
        if left >= LEFT and left + width <= WIDTH and TOP - half <= middle <= BOTTOM - half
    ]
    left = max(LEFT, x - GAP - width)
    boxes = boxes or [(left, y - half, left + width, y + half)]
    return min(boxes, key=lambda box: sum(_overlap(box, other) for other in taken))


def _overlap(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0) * max(height, 0)
