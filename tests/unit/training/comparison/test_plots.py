"""What plots show, read out of their SVG."""

from typing import Literal
from xml.etree import ElementTree as ET

import pytest

from training.comparison.bar_plot import Bar, bar_plot
from training.comparison.dot_plot import Dot, dot_plot
from training.comparison.line_plot import Line, line_plot
from training.comparison.svg import BOTTOM, TOP


def parsed(drawn: str) -> ET.Element:
    return ET.fromstring(drawn)  # noqa: S314 - our own output


def texts(drawn: str) -> list[str]:
    return [node.text or "" for node in parsed(drawn).iter("text")]


def points(drawn: str) -> list[list[tuple[float, float]]]:
    return [
        [
            (float(x), float(y))
            for x, y in (pair.split(",") for pair in node.attrib["points"].split())
        ]
        for node in parsed(drawn).iter("polyline")
    ]


def test_lines_rise_where_values_rise_and_carry_their_names() -> None:
    lines = [Line("up", 0, (0.1, 0.2, 0.3)), Line("down", 1, (0.3, 0.2))]
    drawn = line_plot(lines, "beta", "from zero")
    up, down = points(drawn)
    assert up[0][1] > up[1][1] > up[2][1]
    assert down[0][1] < down[1][1]
    assert up[0][0] == down[0][0]
    assert {"up", "down", "beta", "epoch"} <= set(texts(drawn))


@pytest.mark.parametrize("y_axis", ["range", "from zero", "log"])
def test_every_epoch_of_every_line_is_drawn_inside_the_field(
    y_axis: Literal["range", "from zero", "log"],
) -> None:
    rising = Line("rising", 0, tuple(0.01 * epoch for epoch in range(1, 31)))
    falling = Line("falling", 1, rising.values[::-1])
    bad = Line("bad", 2, (0.001,))
    drawn = points(line_plot([rising, falling, bad], "NDCG", y_axis))
    assert [len(line) for line in drawn] == [30, 30, 1]
    heights = [y for line in drawn for _, y in line]
    assert min(heights) >= TOP
    assert max(heights) <= BOTTOM
    assert drawn[0][0][1] > drawn[0][1][1] > drawn[0][29][1]  # nothing lies along an edge


def test_learning_curves_fill_the_field() -> None:
    curve = Line("curve", 0, (0.30, 0.38, 0.40))
    heights = [y for _, y in points(line_plot([curve], "NDCG", "range"))[0]]
    assert max(heights) - min(heights) > 0.9 * (BOTTOM - TOP)


def test_values_far_apart_are_both_seen_on_a_logarithmic_axis() -> None:
    lines = [Line("a", 0, (10.0, 12.0)), Line("b", 1, (1000.0, 1200.0))]
    low, high = points(line_plot(lines, "KL", "log"))
    assert low[0][1] - high[0][1] > 100
    assert abs(low[0][1] - low[1][1]) > 1
    with_zero = [Line("a", 0, (0.0, 12.0)), lines[1]]
    assert len(points(line_plot(with_zero, "KL", "log"))) == 2


def test_a_flat_line_can_be_drawn() -> None:
    assert points(line_plot([Line("flat", 0, (0.0, 0.0))], "beta", "from zero"))


def test_dots_lie_higher_the_more_accurate_and_further_right_the_slower() -> None:
    drawn = dot_plot(
        [Dot("fast", 0, 1, 0.40, 0.0), Dot("slow", 1, 100, 0.43, 0.002)], "seconds", "NDCG"
    )
    circles = [(float(c.attrib["cx"]), float(c.attrib["cy"])) for c in parsed(drawn).iter("circle")]
    slow, fast = circles  # the most accurate is drawn first
    assert slow[0] > fast[0]
    assert slow[1] < fast[1]
    assert {"fast", "slow", "seconds", "NDCG"} <= set(texts(drawn))


def test_what_is_far_below_the_best_is_told_and_does_not_flatten_the_rest() -> None:
    dots = [Dot("a", 0, 1, 0.43, 0.0), Dot("b", 1, 2, 0.40, 0.0)]
    far = Dot("popularity", 2, 0.01, 0.2, 0.0)
    assert "popularity 0.200 ↓" in texts(dot_plot([*dots, far], "s", "NDCG"))
    for drawn in (dot_plot(dots, "s", "NDCG"), dot_plot([*dots, far], "s", "NDCG")):
        heights = [float(c.attrib["cy"]) for c in parsed(drawn).iter("circle")]
        assert heights[1] - heights[0] > 100
        assert max(heights) < 262


def test_one_dot_can_be_drawn() -> None:
    assert "only" in texts(dot_plot([Dot("only", 0, 0.01, 0.4, 0.0)], "s", "NDCG"))


def test_bars_are_as_long_as_their_values_and_the_best_stands_out() -> None:
    drawn = bar_plot([Bar("a", 0.4, 0.01), Bar("b", 0.2, 0.0), Bar("none", 0.0, 0.0)], "NDCG")
    bars = list(parsed(drawn).iter("rect"))
    widths = [float(bar.attrib["width"]) for bar in bars]
    assert widths[0] == pytest.approx(2 * widths[1], rel=0.01)
    assert widths[2] == 0
    assert [bar.attrib["class"] for bar in bars] == ["bar best", "bar", "bar"]
    assert {"a", "0.400", "b", "0.200"} <= set(texts(drawn))
    assert sum("whisker" in line.attrib["class"] for line in parsed(drawn).iter("line")) == 1


def test_bars_that_print_alike_all_stand_out() -> None:
    drawn = bar_plot([Bar("a", 0.4004, 0.0), Bar("b", 0.3996, 0.0), Bar("c", 0.39, 0.0)], "NDCG")
    kinds = [bar.attrib["class"] for bar in parsed(drawn).iter("rect")]
    assert kinds == ["bar best", "bar best", "bar"]
