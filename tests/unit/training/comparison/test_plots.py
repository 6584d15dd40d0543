"""What plots show, read out of their SVG."""

from xml.etree import ElementTree as ET

import pytest

from training.comparison.bar_plot import Bar, bar_plot
from training.comparison.dot_plot import Dot, dot_plot
from training.comparison.line_plot import Line, line_plot


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


def test_the_steep_start_of_learning_curves_runs_out_of_the_field() -> None:
    rising = Line("rising", 0, tuple(0.01 * epoch for epoch in range(1, 31)))
    assert len(points(line_plot([rising], "NDCG", "cut"))[0]) < 30
    falling = Line("falling", 0, rising.values[::-1])
    assert len(points(line_plot([falling], "RMSE", "cut above"))[0]) < 30
    assert len(points(line_plot([rising], "NDCG", "from zero"))[0]) == 30


def test_a_line_that_is_cut_off_altogether_still_has_its_name() -> None:
    lines = [Line("good", 0, (0.5,) * 50), Line("bad", 1, (0.1,))]
    assert "bad" in texts(line_plot(lines, "NDCG", "cut"))


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
