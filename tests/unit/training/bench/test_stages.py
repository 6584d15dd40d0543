"""The profile out of the service's metrics."""

import pytest

from service.telemetry import Telemetry
from training.bench.stages import mean_batch, profile, read_sums


def test_what_happened_between_two_readings_is_told_the_dearest_first() -> None:
    telemetry = Telemetry()
    telemetry.stage_seconds.labels("engine").observe(9.0)
    telemetry.request_seconds.labels("/recommend").observe(9.0)
    before = read_sums(telemetry.exposition().decode())
    for _ in range(4):
        telemetry.request_seconds.labels("/recommend").observe(0.010)
        telemetry.stage_seconds.labels("queue").observe(0.001)
    telemetry.stage_seconds.labels("engine").observe(0.008)
    telemetry.batch_size.observe(4)
    after = read_sums(telemetry.exposition().decode())
    whole, engine, queue = profile(before, after)
    assert (whole.stage, engine.stage, queue.stage) == ("whole request", "engine", "queue")
    assert (whole.times, engine.times, queue.times) == (4, 1, 4)
    assert engine.mean_ms == pytest.approx(8)
    assert engine.us_per_request == pytest.approx(2000)
    assert queue.us_per_request == pytest.approx(1000)
    assert mean_batch(before, after) == 4


def test_workers_add_up() -> None:
    sums = read_sums(
        'foldin_stage_seconds_sum{pid="1",stage="engine"} 1.5\n'
        'foldin_stage_seconds_sum{pid="2",stage="engine"} 2.0\n'
        'foldin_stage_seconds_count{pid="1",stage="engine"} 3.0\n'
        "# HELP foldin_stage_seconds_sum none\n"
        "other_sum 4\n"
    )
    assert sums == {("foldin_stage_seconds", "engine"): (3.5, 3.0)}


def test_nothing_between_two_readings_is_no_profile() -> None:
    assert profile({}, {}) == []
    assert mean_batch({}, {}) is None
