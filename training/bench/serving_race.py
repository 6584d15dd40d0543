"""Drives three services in turns, on one machine in one run.

All three run at once, each as processes of its own, and are driven one after the other: whatever
the machine does meanwhile, it does to all of them.
"""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, final

import numpy as np
import orjson

from service.catalog import Catalog
from training.bench.client import drive_open_loop
from training.bench.load import ClosedLoop, Load, Target, median_of
from training.bench.process_tree import cpu_seconds, pss_bytes
from training.bench.servers import Launch, Server, ask, running
from training.bench.serving import (
    CEILING,
    NAIVE,
    OPEN_LOOP,
    OURS,
    ServePlan,
    ServeReport,
    ServeRow,
    Stretch,
    rows_of,
)
from training.bench.stages import Sums, mean_batch, profile, read_sums
from training.bench.synthetic import histories
from training.errors import BadInputError

OPEN_CONNECTIONS: Final = 64
WARM_UP_S: Final = 1.0
HTTP_OK: Final = 200

Tell = Callable[[str], None]
Drive = Callable[[Server, Target], Load]
Stretches = Mapping[str, Sequence[Stretch]]


def request_bodies(catalog: Catalog, count: int, length: int, k: int, seed: int) -> list[bytes]:
    """Write bodies for ``POST /recommend``, histories drawn by popularity."""
    generator = np.random.default_rng(seed)
    drawn = histories(catalog.popularity_I, count, length, generator)
    return [
        orjson.dumps({"history": [catalog.item_ids[i] for i in row.item_index_N], "k": k})
        for row in drawn
    ]


def measure_serving(
    plan: ServePlan, bodies: Sequence[bytes], driver: ClosedLoop, folder: Path, tell: Tell
) -> ServeReport:
    """Start all three servers, drive them in turns, end them.

    Args:
        plan: What to drive.
        bodies: Requests, sent in rotation.
        driver: Of the closed loops.
        folder: Gets the logs of the servers, and the answer of the constant one.
        tell: Hears a line as each load begins.

    Raises:
        BadInputError: A server does not start, or does not answer as it should.
    """
    starts_s: list[float] = []
    for _ in range(plan.repeats - 1):
        with running(_ours(plan, folder)) as server:
            starts_s.append(server.ready_s)
    with _all_running(plan, bodies[0], folder) as servers:
        race = _Race(plan, servers, bodies, tell)
        rows: list[ServeRow] = []
        before = after = _metrics(servers[OURS])
        measured: Stretches = {}
        for connections in plan.connections:
            before = _metrics(servers[OURS])
            measured = race.closed(driver, connections)
            after = _metrics(servers[OURS])
            rows += rows_of(f"{connections} conn", measured)
        rows += rows_of(OPEN_LOOP, race.open({name: _rps(measured[name]) for name in servers}))
        starts_s.append(servers[OURS].ready_s)
        ready_s = {name: server.ready_s for name, server in servers.items()}
        return ServeReport(
            workers=plan.workers,
            driver=driver.name,
            rows=tuple(rows),
            ready_s=ready_s | {OURS: statistics.median(starts_s)},
            pss_bytes={name: pss_bytes(server.pid) for name, server in servers.items()},
            stages=tuple(profile(before, after)),
            mean_batch=mean_batch(before, after),
        )


@final
class _Race:
    """Three servers that are up, and who drives them."""

    def __init__(
        self, plan: ServePlan, servers: Mapping[str, Server], bodies: Sequence[bytes], tell: Tell
    ) -> None:
        self._plan = plan
        self._servers = servers
        self._bodies = tuple(bodies)
        self._tell = tell

    def closed(self, driver: ClosedLoop, connections: int) -> Stretches:
        """Let each connection ask as soon as it was answered."""
        self._tell(f"{connections} connections, driven by {driver.name}")
        seconds = self._plan.seconds
        return self._in_turns(
            lambda _, target: driver.drive(target, connections, WARM_UP_S),
            lambda _, target: driver.drive(target, connections, seconds),
        )

    def open(self, capacity_rps: Mapping[str, float]) -> Stretches:
        """Ask at a fixed rate, a share of what each server can do."""
        plan = self._plan
        self._tell(f"open loop at {plan.open_share:.0%} of capacity, driven by our own client")

        def drive_for(seconds: float) -> Drive:
            def drive(server: Server, target: Target) -> Load:
                rate = max(1.0, plan.open_share * capacity_rps[server.name])
                return drive_open_loop(target, OPEN_CONNECTIONS, rate, seconds)

            return drive

        return self._in_turns(drive_for(WARM_UP_S), drive_for(plan.seconds))

    def _in_turns(self, warm_up: Drive, drive: Drive) -> Stretches:
        measured: dict[str, list[Stretch]] = {name: [] for name in self._servers}
        for repeat in range(self._plan.repeats):
            for name in list(measured)[:: -1 if repeat % 2 else 1]:
                server = self._servers[name]
                target = Target(server.port, self._bodies)
                warm_up(server, target)
                before_s = cpu_seconds(server.pid)
                load = drive(server, target)
                after_s = cpu_seconds(server.pid)
                if before_s is None or after_s is None:
                    measured[name].append(Stretch(load, None))
                else:
                    measured[name].append(Stretch(load, after_s - before_s))
        return measured


@contextmanager
def _all_running(plan: ServePlan, body: bytes, folder: Path) -> Iterator[dict[str, Server]]:
    with ExitStack() as stack:
        ours = stack.enter_context(running(_ours(plan, folder)))
        status, answer = ask(ours.port, "/recommend", body)
        if status != HTTP_OK:
            raise BadInputError(f"the service answers {status}: {answer.decode()[:200]}")
        constant = folder / "answer.json"
        constant.write_bytes(answer)
        naive = stack.enter_context(running(_rival(NAIVE, plan.bundle, plan, folder)))
        ceiling = stack.enter_context(running(_rival(CEILING, constant, plan, folder)))
        yield {OURS: ours, NAIVE: naive, CEILING: ceiling}


def _ours(plan: ServePlan, folder: Path) -> Launch:
    variables = {
        "FOLDIN_MODEL_DIR": str(plan.bundle.absolute()),
        "FOLDIN_PORT": "{port}",
        "FOLDIN_WORKERS": str(plan.workers),
        "FOLDIN_THREADS": str(plan.threads),
        "FOLDIN_DEVICE": "cpu",
        "FOLDIN_LOG_LEVEL": plan.log_level,
    }
    return Launch(OURS, ("-m", "service"), variables, folder / f"{OURS}.log")


def _rival(name: str, source: Path, plan: ServePlan, folder: Path) -> Launch:
    counts = ("--workers", str(plan.workers), "--threads", str(plan.threads))
    options = ("--port", "{port}", *counts, "--log-level", plan.log_level)
    arguments = ("-m", "training.bench.rivals", name, str(source.absolute()), *options)
    return Launch(name, arguments, {}, folder / f"{name}.log")


def _rps(stretches: Sequence[Stretch]) -> float:
    return median_of([stretch.load for stretch in stretches], lambda load: load.rps)


def _metrics(server: Server) -> Sums:
    return read_sums(ask(server.port, "/metrics")[1].decode())
