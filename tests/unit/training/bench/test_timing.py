"""Times in turns, on a clock of our own."""

import pytest

from training.bench.timing import race


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_each_action_gets_its_median_and_turns_change_direction() -> None:
    clock = Clock()
    order: list[str] = []
    costs_s = {"a": iter([9, 1, 1, 5, 2]), "b": iter([9, 2, 3, 3, 30])}

    def action(name: str) -> None:
        order.append(name)
        clock.now_s += next(costs_s[name])

    actions = {"a": lambda: action("a"), "b": lambda: action("b")}
    assert race(actions, 3, at_least_s=0, clock=clock) == {"a": 2, "b": 3}
    assert "".join(order) == "aabb" + "ab" + "ba" + "ab"


def test_a_short_action_is_called_often_enough_to_be_timed() -> None:
    clock = Clock()
    calls = 0

    def action() -> None:
        nonlocal calls
        calls += 1
        clock.now_s += 0.01

    seconds = race({"short": action}, 2, at_least_s=0.1, clock=clock)
    assert seconds["short"] == pytest.approx(0.01)
    assert 2 + 2 * 10 <= calls <= 2 + 2 * 11
