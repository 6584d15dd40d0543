"""Summaries of load."""

import math

from hypothesis import given
from hypothesis import strategies as st

from training.bench.load import Load, Target, median_of, quantile


@given(st.lists(st.floats(0, 10), min_size=1), st.floats(0.01, 1))
def test_a_quantile_is_a_value_that_the_share_does_not_exceed(
    values: list[float], share: float
) -> None:
    found = quantile(sorted(values), share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9


def test_nothing_has_no_latency_and_no_rate() -> None:
    load = Load.of([], 3, 0.0)
    assert math.isnan(load.p50_ms)
    assert load.rps == 0
    assert load.errors == 3


def test_latencies_are_told_in_milliseconds_and_answers_a_second() -> None:
    load = Load.of([0.004, 0.001, 0.002], 1, 2.0)
    assert (load.p50_ms, load.p99_ms, load.rps, load.errors) == (2.0, 4.0, 1.5, 1)
    assert median_of([load, Load(8, 0, 2.0, 1, 1)], lambda one: one.rps) == 2.75


def test_requests_rotate_over_the_bodies() -> None:
    target = Target(8123, (b"{}", b'{"k":1}'))
    head, _, body = target.request(3).partition(b"\r\n\r\n")
    assert body == b'{"k":1}'
    assert b"Content-Length: 7" in head
    assert head.startswith(b"POST /recommend HTTP/1.1\r\n")
    assert target.request(2).endswith(b"\r\n\r\n{}")
