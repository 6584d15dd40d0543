"""The serve bench: medians and ratios, and one small run with real servers."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from training.bench import serving_race
from training.bench.client import AsyncioClosedLoop
from training.bench.load import Load, Target
from training.bench.servers import Launch, Server
from training.bench.serving import CEILING, NAIVE, OURS, ServePlan, Stretch, rows_of
from training.bench.serving_race import measure_serving, request_bodies
from training.bench.subject import Subject
from training.errors import BadInputError

Start = Callable[[Callable[[int], int]], tuple[int, list[bytes]]]


def stretches(rps: float, *p50_ms: float, errors: int = 0) -> list[Stretch]:
    return [Stretch(Load(int(rps), errors, 1.0, p50, 4 * p50), 0.5) for p50 in p50_ms]


def test_rows_hold_medians_ratios_and_cost() -> None:
    measured = {
        OURS: stretches(600, 1, 9, 2, errors=1),
        NAIVE: stretches(100, 10),
        CEILING: stretches(1000, 1),
    }
    ours, naive, ceiling = rows_of("64 conn", measured)
    assert (ours.rps, ours.p50_ms, ours.p99_ms, ours.errors) == (600, 2, 8, 3)
    assert ours.rps_to_ceiling == pytest.approx(0.6)
    assert ours.rps_to_naive == pytest.approx(6)
    assert ours.p50_to_naive == pytest.approx(0.2)
    assert ours.cpu_s_per_1000 == pytest.approx(1000 * 0.5 / 600)
    assert naive.rps_to_naive == ceiling.rps_to_ceiling == 1


def test_an_open_loop_has_its_rate_and_no_ratio_of_rates() -> None:
    measured = {name: stretches(1400, 1) for name in (OURS, NAIVE, CEILING)}
    row = rows_of("open", measured)[0]
    assert row.load == "open 1,400/s"
    assert row.rps_to_ceiling is row.rps_to_naive is None


def test_a_server_that_answered_nothing_has_no_ratio() -> None:
    nothing = [Stretch(Load.of([], 9, 1.0), None)]
    measured = {OURS: stretches(600, 1), NAIVE: nothing, CEILING: stretches(1, 1)}
    ours, naive, _ = rows_of("64 conn", measured)
    assert ours.rps_to_naive is None
    assert naive.cpu_s_per_1000 is None


def test_bodies_are_distinct_histories_of_the_catalogue(subject: Subject) -> None:
    bodies = [json.loads(body) for body in request_bodies(subject.loaded.catalog, 5, 30, 7, 0)]
    assert all(body["k"] == 7 and len(set(body["history"])) == 30 for body in bodies)
    assert len({tuple(body["history"]) for body in bodies}) == 5
    known = set(subject.loaded.catalog.item_ids)
    assert all(known.issuperset(body["history"]) for body in bodies)


@pytest.fixture
def launched(
    tiny_server: Start, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[Launch], list[bytes]]:
    """Let launches reach small servers of this process; gives the launches, and all bodies."""
    launches: list[Launch] = []
    port, bodies = tiny_server(lambda _: 200)

    @contextmanager
    def run(launch: Launch) -> Iterator[Server]:
        launches.append(launch)
        yield Server(launch.name, port, os.getpid(), float(len(launches)))

    monkeypatch.setattr(serving_race, "running", run)
    monkeypatch.setattr(serving_race, "WARM_UP_S", 0.02)
    return launches, bodies


def test_servers_are_started_alike_and_ours_several_times(
    launched: tuple[list[Launch], list[bytes]], tmp_path: Path
) -> None:
    launches, _ = launched
    plan = ServePlan(Path("bundle"), 2, 3, (1, 2), repeats=3, seconds=0.05, log_level="error")
    told: list[str] = []
    report = measure_serving(plan, [b"{}"], AsyncioClosedLoop(), tmp_path, told.append)
    assert [launch.name for launch in launches] == [OURS] * 3 + [NAIVE, CEILING]
    assert launches[0].variables["FOLDIN_MODEL_DIR"] == str(Path("bundle").absolute())
    assert launches[0].variables["FOLDIN_WORKERS"] == "2"
    assert launches[0].variables["FOLDIN_THREADS"] == "3"
    naive, ceiling = (" ".join(launch.arguments) for launch in launches[3:])
    assert "--workers 2 --threads 3 --log-level error" in naive
    assert str(tmp_path / "answer.json") in ceiling
    assert (tmp_path / "answer.json").read_bytes() == b'{"items":[]}'
    assert report.ready_s == {OURS: 2.0, NAIVE: 4.0, CEILING: 5.0}  # ours: of 1, 2 and 3
    loads = [row.load.split()[0] for row in report.rows]
    assert loads == ["1"] * 3 + ["2"] * 3 + ["open"] * 3
    assert all(row.cpu_s_per_1000 is not None for row in report.rows)
    assert len(told) == 3


def test_the_open_loop_takes_a_share_of_each_capacity(
    launched: tuple[list[Launch], list[bytes]], tmp_path: Path
) -> None:
    _, bodies = launched
    driver = Scripted(rps=200)
    plan = ServePlan(Path("bundle"), connections=(64,), repeats=1, seconds=0.2)
    report = measure_serving(plan, [b"{}"], driver, tmp_path, lambda _: None)
    assert driver.connections == [64] * 6  # each server is warmed up, and then measured
    # One answer for the constant one; warm-up and measurement at 140 a second, three servers.
    assert len(bodies) == 1 + 3 * (3 + 28)
    assert report.driver == "scripted"


def test_without_proc_the_cost_is_not_known(
    launched: tuple[list[Launch], list[bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert launched
    monkeypatch.setattr(serving_race, "cpu_seconds", lambda _: None)
    plan = ServePlan(Path("bundle"), connections=(1,), repeats=1, seconds=0.05)
    report = measure_serving(plan, [b"{}"], Scripted(rps=100), tmp_path, lambda _: None)
    assert {row.cpu_s_per_1000 for row in report.rows} == {None}


def test_a_service_that_refuses_the_request_is_an_error(
    tiny_server: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, _ = tiny_server(lambda _: 422)

    @contextmanager
    def run(launch: Launch) -> Iterator[Server]:
        yield Server(launch.name, port, os.getpid(), 1.0)

    monkeypatch.setattr(serving_race, "running", run)
    plan = ServePlan(Path("bundle"), repeats=1)
    with pytest.raises(BadInputError, match="the service answers 422"):
        measure_serving(plan, [b"{}"], Scripted(rps=1), tmp_path, lambda _: None)


class Scripted:
    """Drives nothing, and says what it was told to."""

    name = "scripted"

    def __init__(self, rps: float) -> None:
        self._rps = rps
        self.connections: list[int] = []

    def drive(self, target: Target, connections: int, seconds: float) -> Load:
        assert target.bodies
        self.connections.append(connections)
        return Load(round(self._rps * 1000), 0, 1000.0, 1.0, 2.0 * seconds)


@pytest.mark.e2e
@pytest.mark.slow
def test_three_real_servers_are_driven_in_turns(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving_race, "WARM_UP_S", 0.05)
    plan = ServePlan(subject.path, workers=2, connections=(2,), repeats=1, seconds=0.2)
    bodies = request_bodies(subject.loaded.catalog, 4, 10, 5, 0)
    told: list[str] = []
    report = measure_serving(plan, bodies, AsyncioClosedLoop(), tmp_path, told.append)
    servers = [OURS, NAIVE, CEILING]
    assert [row.server for row in report.rows] == servers * 2
    assert all(row.errors == 0 and row.rps > 0 for row in report.rows)
    assert all(ready_s > 0 for ready_s in report.ready_s.values())
    assert list(report.pss_bytes) == servers
    assert {"whole request", "engine", "queue"} <= {row.stage for row in report.stages}
    assert told == [
        "2 connections, driven by asyncio client",
        "open loop at 70% of capacity, driven by our own client",
    ]
    answer = json.loads((tmp_path / "answer.json").read_bytes())
    assert len(answer["items"]) == 5
