"""Scales, ticks and labels: the geometry of plots."""

import itertools
import math
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.comparison.labels import free_box, spread
from training.comparison.svg import Frame, Scale, element, style, text, tick_labels

PLACES = st.lists(st.floats(0, 100), min_size=1, max_size=7)


def test_texts_and_attributes_are_escaped() -> None:
    drawn = element("g", text("<a & b>", 1, 2), class_='x"y', stroke_width=1.23456)
    parsed = ET.fromstring(drawn)  # noqa: S314 - our own output
    assert parsed.attrib == {"class": 'x"y', "stroke-width": "1.23"}
    assert parsed[0].text == "<a & b>"


def test_a_scale_maps_its_ends_and_keeps_what_is_beyond_on_them() -> None:
    scale = Scale(10, 20, 100, 0)
    assert [scale(value) for value in (10, 15, 20, 99, -3)] == [100, 50, 0, 0, 100]
    assert scale.length(5) == 50
    log = Scale(0.1, 1000, 0, 4, is_log=True)
    assert [log(value) for value in (0.1, 1, 10, 1000)] == pytest.approx([0, 1, 2, 4])


@given(st.floats(-1000, 1000), st.floats(0.001, 1000))
def test_even_ticks_are_few_and_lie_within(low: float, width: float) -> None:
    scale = Scale(low, low + width, 0, 1)
    ticks = scale.ticks()
    assert 1 <= len(ticks) <= 7
    slack = 1e-6 * max(abs(low), width)
    assert all(low - slack <= tick <= low + width + slack for tick in ticks)
    assert len(set(tick_labels(ticks))) == len(ticks)


def test_logarithmic_ticks_are_powers_of_ten_and_finer_where_there_are_few() -> None:
    assert Scale(0.02, 300, 0, 1, is_log=True).ticks() == pytest.approx([0.1, 1, 10, 100])
    assert Scale(3, 60, 0, 1, is_log=True).ticks() == pytest.approx([5, 10, 20, 50])


def test_tick_labels_have_the_digits_that_tell_them_apart() -> None:
    assert tick_labels([0.35, 0.4, 0.45]) == ["0.35", "0.40", "0.45"]
    assert tick_labels([0, 1000, 2000]) == ["0", "1,000", "2,000"]
    assert tick_labels([0.01, 0.1, 1]) == ["0.01", "0.1", "1"]
    assert tick_labels([3.0]) == ["3"]


def test_axes_name_both_quantities_and_every_tick() -> None:
    drawn = Frame(Scale(0, 10, 40, 300), Scale(0.3, 0.4, 250, 20)).axes("epoch", "NDCG")
    for label in ("epoch", "NDCG", "0.30", "0.40", ">10<"):
        assert label in drawn


def test_the_palette_is_dashed_the_second_time_round() -> None:
    assert [style(number) for number in (0, 7, 8, 15, 16)] == [
        "s0",
        "s7",
        "s0 dashed",
        "s7 dashed",
        "s0",
    ]


@given(PLACES)
def test_labels_are_spread_in_order_without_overlap(places: list[float]) -> None:
    moved = spread(places, 12, 0, 100)
    by_place = [moved[index] for index in sorted(range(len(places)), key=lambda i: places[i])]
    gaps = [high - low for low, high in itertools.pairwise(by_place)]
    assert all(gap >= 12 - 1e-6 for gap in gaps)
    assert all(-1e-6 <= place <= 100 + 1e-6 for place in moved)


def test_labels_that_have_room_stay_where_they_want_to_be() -> None:
    assert spread([50, 10, 90], 12, 0, 100) == [50, 10, 90]


def test_a_name_takes_the_place_that_nothing_covers() -> None:
    free = free_box(200, 100, 40, [])
    assert free[0] == 208
    aside = free_box(200, 100, 40, [free])
    assert aside[2] == pytest.approx(192)
    at_the_edge = free_box(390, 100, 40, [])
    assert at_the_edge[2] < 390


def test_a_name_wider_than_the_field_is_put_somewhere() -> None:
    assert all(math.isfinite(edge) for edge in free_box(200, 100, 900, []))


def test_labels_below_an_axis_never_lie_on_each_other() -> None:
    narrow, wide = (
        Frame(
            Scale(5_000, 160_000, 50, 50 + width, is_log=True), Scale(1, 10, 200, 0, is_log=True)
        ).axes("items", "ms")
        for width in (150, 600)
    )
    every = [f"{value:,}" for value in (5_000, 10_000, 20_000, 50_000, 100_000)]
    assert [label for label in every if f">{label}<" in wide] == every
    assert [label for label in every if f">{label}<" in narrow] == ["5,000", "20,000", "100,000"]
