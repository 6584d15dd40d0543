"""What is measured of a service under load, beside a tutorial service and a constant answer."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from training.bench.load import Load, median_of
from training.bench.stages import StageRow

OURS: Final = "foldin"
NAIVE: Final = "naive"
CEILING: Final = "ceiling"
OPEN_LOOP: Final = "open"


@final
@dataclass(frozen=True, slots=True)
class ServePlan:
    """What to drive.

    Attributes:
        bundle: What the service and the naive one load.
        workers: Processes of each server.
        threads: Torch threads a worker.
        connections: Of the closed loops; capacity is measured at the last.
        repeats: Of each measurement, of which the median counts.
        seconds: Of each measurement.
        open_share: Rate of the open loop over capacity.
        log_level: Of all three servers.
    """

    bundle: Path
    workers: int = 1
    threads: int = 1
    connections: Sequence[int] = (1, 16, 64)
    repeats: int = 3
    seconds: float = 5.0
    open_share: float = 0.7
    log_level: str = "warning"


@final
@dataclass(frozen=True, slots=True)
class ServeRow:
    """One server under one load; medians over the repeats.

    Attributes:
        server: Which.
        load: ``64 conn``, or ``open`` with its rate.
        rps: Answers a second.
        p50_ms: Median latency.
        p99_ms: Latency that one request in a hundred exceeds.
        cpu_s_per_1000: Processor seconds of the server and its workers; None: nobody says.
        errors: Answers that were no 200, over all repeats.
        rps_to_ceiling: Times the ceiling's rps (closed loop).
        rps_to_naive: Times the naive service's rps (closed loop).
        p50_to_naive: Times the naive service's median latency.
    """

    server: str
    load: str
    rps: float
    p50_ms: float
    p99_ms: float
    cpu_s_per_1000: float | None
    errors: int
    rps_to_ceiling: float | None
    rps_to_naive: float | None
    p50_to_naive: float | None


@final
@dataclass(frozen=True, slots=True)
class ServeReport:
    """All that one run tells.

    Attributes:
        workers: Processes of each server.
        driver: Who drove the closed loops.
        rows: By load, our service first.
        ready_s: Start to ready by server; of ours the median over the repeats.
        pss_bytes: Memory of each server after the load, shared pages counted once.
        stages: Where our service's time went at the most connections.
        mean_batch: Rows its engine answered at a time there.
    """

    workers: int
    driver: str
    rows: tuple[ServeRow, ...]
    ready_s: dict[str, float]
    pss_bytes: dict[str, int | None]
    stages: tuple[StageRow, ...]
    mean_batch: float | None


@final
@dataclass(frozen=True, slots=True)
class Stretch:
    """One repeat of one load on one server.

    Attributes:
        load: What the driver saw.
        cpu_s: Processor seconds of the server meanwhile; None: nobody says.
    """

    load: Load
    cpu_s: float | None


def rows_of(load: str, measured: Mapping[str, Sequence[Stretch]]) -> list[ServeRow]:
    """Boil the repeats of one load down, a row a server, each beside its rivals.

    Args:
        load: In words; an open loop has no ratios of rps, since the rate is given.
        measured: By server, all three.
    """
    loads = {name: [stretch.load for stretch in of] for name, of in measured.items()}
    rps = {name: median_of(of, lambda load: load.rps) for name, of in loads.items()}
    p50_ms = {name: median_of(of, lambda load: load.p50_ms) for name, of in loads.items()}
    is_closed = not load.startswith(OPEN_LOOP)
    return [
        ServeRow(
            server=name,
            load=load if is_closed else f"{load} {rps[name]:,.0f}/s",
            rps=rps[name],
            p50_ms=p50_ms[name],
            p99_ms=median_of(of, lambda load: load.p99_ms),
            cpu_s_per_1000=_cpu_s_per_1000(measured[name]),
            errors=sum(load.errors for load in of),
            rps_to_ceiling=_ratio(rps[name], rps[CEILING]) if is_closed else None,
            rps_to_naive=_ratio(rps[name], rps[NAIVE]) if is_closed else None,
            p50_to_naive=_ratio(p50_ms[name], p50_ms[NAIVE]),
        )
        for name, of in loads.items()
    ]


def _ratio(value: float, reference: float) -> float | None:
    # A server that answered nothing has an rps of 0 and a latency that is no number.
    return value / reference if reference > 0 else None


def _cpu_s_per_1000(stretches: Sequence[Stretch]) -> float | None:
    known = [
        1000 * stretch.cpu_s / stretch.load.requests
        for stretch in stretches
        if stretch.cpu_s is not None and stretch.load.requests
    ]
    return statistics.median(known) if known else None
