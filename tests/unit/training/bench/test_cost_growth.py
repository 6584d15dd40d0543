"""How cost grows: every axis alone, laws by cost, and the page that shows them."""

import re

import pytest

from training.bench.cost_growth import Growth, GrowthPlan, Point, batch_actions, laws, measured
from training.bench.cost_law import fitted
from training.bench.growth_plot import growth_page, growth_plot
from training.bench.synthetic import Shape
from training.bench.training_race import Contestant, TrainPlan, TrainRun

PLAN = GrowthPlan(
    users=(20, 10, 40),
    items=(200, 400, 800),
    history=(5, 10, 20),
    shape=Shape(300, 16, 8),
    base_users=7,
    length=12,
    epochs=2,
    repeats=1,
    at_least_s=0.0,
)


def trained(plan: TrainPlan, contestant: Contestant, seed: int) -> TrainRun:
    """Train nothing: a second for 10 users, a megabyte for 100 items."""
    peak_bytes = 1_000 + plan.shape.items * (1 << 20) // 100
    return TrainRun(contestant, seed, 10.0, peak_bytes, 1_000, (2.0, 1.0))


@pytest.fixture(scope="module")
def points() -> list[Point]:
    plans: list[TrainPlan] = []

    def start(plan: TrainPlan, contestant: Contestant, seed: int) -> TrainRun:
        plans.append(plan)
        return trained(plan, contestant, seed)

    found = list(measured(PLAN, start))
    varied = [(plan.users, plan.shape.items, plan.length) for plan in plans]
    assert varied == [
        *((users, 300, 12) for users in (10, 20, 40)),
        *((7, items, 12) for items in (200, 400, 800)),
        *((7, 300, length) for length in (5, 10, 20)),
    ]
    return found


def test_an_epoch_and_its_memory_are_measured_at_every_size(points: list[Point]) -> None:
    assert Point("users", 40, "an epoch", 4.0, "s") in points
    assert Point("items", 800, "training", 8.0, "MB") in points


def test_answers_are_measured_where_they_can_depend_on_the_size(points: list[Point]) -> None:
    timed = {(point.axis, point.cost) for point in points if point.unit == "ms"}
    costs = ("32 encodings", "32 lists, exact", "32 lists, int8")
    assert timed == {(axis, cost) for axis in ("items", "history") for cost in costs}
    assert all(point.amount > 0 for point in points)


def test_each_cost_along_each_axis_gets_a_law(points: list[Point]) -> None:
    growths = laws(points)
    assert len(growths) == 2 + 5 + 5
    epochs = next(growth for growth in growths if growth.axis == "users" and growth.unit == "s")
    assert epochs.sizes == (10, 20, 40)
    assert epochs.law.exponent == pytest.approx(1)
    assert epochs.law.doubling == pytest.approx(2)


def test_both_ways_rank_the_same_items() -> None:
    actions = batch_actions(PLAN.shape, PLAN.length, PLAN)
    exact, int8 = actions["32 lists, exact"](), actions["32 lists, int8"]()
    assert isinstance(exact, list)
    assert isinstance(int8, list)
    assert [top.item_index_K.tolist() for top in exact] == [
        top.item_index_K.tolist() for top in int8
    ]


def growth(cost: str, *amounts: float) -> Growth:
    sizes = (10, 100, 1_000)
    return Growth("items", cost, "ms", sizes, amounts, fitted(sizes, amounts))


def test_the_plot_has_a_dot_for_each_measurement_inside_the_field() -> None:
    drawn = growth_plot([growth("lists", 1, 10, 100), growth("encodings", 2, 2.1, 2)], "items")
    places = [float(y) for y in re.findall(r'<circle cx="[\d.]+" cy="([\d.]+)"', drawn)]
    assert len(places) == 6
    assert places[:3] == sorted(places[:3], reverse=True)  # costs grow upwards
    assert "lists x2.00" in drawn
    assert "exponent 1.00 +- 0.00" in drawn


def test_a_law_without_a_cost_at_an_end_is_drawn_at_the_edge() -> None:
    law = fitted((10, 100, 1_000), (1.0, 10.0, 100.0))
    odd = Growth("items", "lists", "ms", (1, 100, 1_000), (1.0, 10.0, 100.0), law)
    assert "nan" not in growth_plot([odd], "items")


def test_the_page_shows_each_axis_with_what_was_measured_along_it(points: list[Point]) -> None:
    shown = growth_page(laws(points), "A note & more.")
    assert shown.count("<h2>") == 3
    assert shown.count("<svg") == 2 + 3 + 3
    assert "A note &amp; more." in shown
    assert "items of a history" in shown
