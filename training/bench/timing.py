"""Times things against each other in turns, so that a drift of the machine hits all of them."""

import math
import statistics
import time
from collections.abc import Callable, Mapping

Clock = Callable[[], float]
Action = Callable[[], object]


def race(
    actions: Mapping[str, Action],
    repeats: int,
    at_least_s: float,
    clock: Clock = time.perf_counter,
) -> dict[str, float]:
    """Give the median seconds of one call of each action.

    Each action is called once before anything is timed. A repeat then times all of them one
    after the other, every second repeat in reverse order; within it an action is called as
    often as fills ``at_least_s``, by what the first timed call took.

    Args:
        actions: What to time, by name.
        repeats: Timings of each, of which the median is taken; at least 3 for a figure that is
            told.
        at_least_s: Shorter timings say more about the clock than about the action.
        clock: Seconds from any fixed point.
    """
    calls: dict[str, int] = {}
    for name, action in actions.items():
        action()
        calls[name] = max(1, math.ceil(at_least_s / max(_seconds(action, 1, clock), 1e-9)))
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for repeat in range(repeats):
        for name in list(actions)[:: -1 if repeat % 2 else 1]:
            seconds[name].append(_seconds(actions[name], calls[name], clock) / calls[name])
    return {name: statistics.median(values) for name, values in seconds.items()}


def _seconds(action: Action, calls: int, clock: Clock) -> float:
    started_s = clock()
    for _ in range(calls):
        action()
    return clock() - started_s
