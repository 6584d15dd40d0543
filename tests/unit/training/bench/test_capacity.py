"""The plan on paper, by its arithmetic."""

from dataclasses import replace

import pytest

from training.bench.capacity import Demand, planned
from training.bench.serving_scale import Latency, ScaleRow
from training.errors import BadInputError

LOADS = (Latency(1, 50.0, 20.0, 30.0, 18.0, 0), Latency(8, 200.0, 40.0, 60.0, 6.0, 0))
ROW = ScaleRow(1_000_000, "int8", 20.0, 1_000_000_000, 500_000_000, 604_000_000, 1.0, LOADS)
# 864 million users who ask once in ten days: 1,000 a second, 3,000 at the peak.
DEMAND = Demand(864_000_000, 10_000_000, 0.1, 3.0, 0.5, 2_000, 0.06)


def test_the_plan_follows_from_the_load_at_the_most_connections() -> None:
    plan = planned(ROW, DEMAND)
    assert plan.peak_rps == pytest.approx(3_000)
    assert plan.shards == 10
    assert plan.replicas == 30  # 3,000 / (200 x 0.5)
    assert plan.processes == 300
    assert plan.memory_bytes == 1_500_000_000
    assert plan.total_memory_bytes == 450_000_000_000
    assert plan.redis_bytes == 864_000_000 * 2_000 * 2
    assert plan.p99_ms == 60
    # Ten shards take 6 ms each for a request, at half of what they can do: 0.12 s.
    assert plan.cores == pytest.approx(3_000 * 0.12)
    assert plan.cost_per_1000 == pytest.approx(120 / 3_600 * 0.06)


def test_a_catalogue_that_was_measured_is_one_shard_and_one_item_more_is_two() -> None:
    assert planned(ROW, replace(DEMAND, items=1_000_000)).shards == 1
    assert planned(ROW, replace(DEMAND, items=1_000_001)).shards == 2


def test_however_few_ask_a_process_may_fail() -> None:
    assert planned(ROW, replace(DEMAND, users=1)).replicas == 2


@pytest.mark.parametrize(
    "row",
    [
        replace(ROW, own_bytes=None),
        replace(ROW, file_bytes=None),
        replace(ROW, loads=(replace(LOADS[0], cpu_ms=None),)),
        replace(ROW, loads=(replace(LOADS[0], rps=0.0),)),
    ],
)
def test_what_was_not_measured_makes_no_plan(row: ScaleRow) -> None:
    with pytest.raises(BadInputError, match=r"int8: .* were not measured"):
        planned(row, DEMAND)
