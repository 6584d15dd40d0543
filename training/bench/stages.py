"""Where the time of requests goes, by what the service's own metrics say of a stretch of load."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, final

SAMPLE: Final = re.compile(r"^(foldin_\w+?)_(sum|count)(?:\{(.*)\})? (\S+)$")
STAGE: Final = re.compile(r'stage="([^"]*)"')
BATCH: Final = ("foldin_batch_size", "")
REQUEST: Final = ("foldin_request_seconds", "")
STAGE_METRIC: Final = "foldin_stage_seconds"


@final
@dataclass(frozen=True, slots=True)
class StageRow:
    """One stage.

    Attributes:
        stage: As the metric names it.
        times: How often it ran; once a row or once a batch.
        mean_ms: Of one time.
        us_per_request: Its seconds over all requests.
    """

    stage: str
    times: int
    mean_ms: float
    us_per_request: float


Sums = Mapping[tuple[str, str], tuple[float, float]]


def read_sums(exposition: str) -> Sums:
    """Read sum and count of every histogram, by metric and stage; several workers add up."""
    sums: dict[tuple[str, str], tuple[float, float]] = {}
    for line in exposition.splitlines():
        found = SAMPLE.match(line)
        if not found:
            continue
        metric, kind, labels, value = found.groups()
        stage = STAGE.search(labels or "")
        key = (metric, stage.group(1) if stage else "")
        total, count = sums.get(key, (0.0, 0.0))
        is_sum = kind == "sum"
        sums[key] = (total + float(value) * is_sum, count + float(value) * (not is_sum))
    return sums


def profile(before: Sums, after: Sums) -> list[StageRow]:
    """Give what each stage took between two readings, the dearest first.

    The first is the whole of a request, from its first byte to the last of its answer; requests
    overlap, and so the stages of one do not add up to anything on the clock.
    """
    between = _between(before, after)
    _, requests = between.get(REQUEST, (0.0, 0.0))
    rows = [
        StageRow(
            stage=stage or "whole request",
            times=int(count),
            mean_ms=1e3 * total / count,
            us_per_request=1e6 * total / max(1.0, requests),
        )
        for (metric, stage), (total, count) in between.items()
        if count and (metric == STAGE_METRIC or (metric, stage) == REQUEST)
    ]
    return sorted(rows, key=lambda row: -row.us_per_request)


def mean_batch(before: Sums, after: Sums) -> float | None:
    """Give the mean rows of a batch between two readings; None where no batch ran."""
    total, count = _between(before, after).get(BATCH, (0.0, 0.0))
    return total / count if count else None


def _between(before: Sums, after: Sums) -> Sums:
    return {
        key: (total - before.get(key, (0.0, 0.0))[0], count - before.get(key, (0.0, 0.0))[1])
        for key, (total, count) in after.items()
    }
