"""The service on catalogues of several sizes, by each way of retrieval: start, memory, latency."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias, final

import orjson

from service.retrieval.inverted_lists import kept_dim
from service.retrieval_mode import RetrievalMode
from training.bench.load import ClosedLoop, Target
from training.bench.process_tree import cpu_seconds, memory
from training.bench.servers import Launch, Server, ask, running
from training.bench.serving_race import request_bodies
from training.bench.synthetic import Shape, synthetic_catalog, write_bundle
from training.errors import BadInputError

# A thousand lists of an index of a million items, on a machine that does other work.
START_LIMIT_S: Final = 900.0
# The longest that a row may wait: what is slow shall be measured, and not refused.
DEADLINE_MS: Final = 60_000
WARM_UP_S: Final = 2.0
NUM_BODIES: Final = 256
HTTP_OK: Final = 200


@final
@dataclass(frozen=True, slots=True)
class ScalePlan:
    """What to serve, and how to ask.

    Attributes:
        items: Sizes of the catalogues.
        modes: Ways of retrieval, as ``FOLDIN_RETRIEVAL`` has them.
        hidden: Of the synthetic Mult-VAE.
        latent: Of it, too.
        history: Items of a history.
        k: Length of a list.
        connections: Of the closed loops.
        seconds: Of each measurement.
        threads: Of the engine.
        seed: Start of all chance.
    """

    items: Sequence[int] = (20_000, 100_000, 1_000_000)
    modes: Sequence[RetrievalMode] = ("exact", "int8", "ann")
    hidden: int = 600
    latent: int = 200
    history: int = 100
    k: int = 20
    connections: Sequence[int] = (1, 8)
    seconds: float = 10.0
    threads: int = 1
    seed: int = 0


@final
@dataclass(frozen=True, slots=True)
class Latency:
    """One closed loop.

    Attributes:
        connections: That asked at once.
        rps: Answers a second.
        p50_ms: Median latency.
        p99_ms: Latency that one request in a hundred exceeds.
        cpu_ms: Processor time of the service for a request; None: the system does not say.
        errors: Answers that were no 200.
    """

    connections: int
    rps: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float | None
    errors: int


@final
@dataclass(frozen=True, slots=True)
class ScaleRow:
    """One size of catalogue, one way of retrieval.

    Attributes:
        items: I.
        mode: As it was asked for.
        ready_s: Start of the process to the first 200 of ``/readyz``; the bundle was just written,
            and so is in the system's page cache.
        own_bytes: Memory of the process itself, after the load; None: the system does not say.
        file_bytes: The part of the bundle that it has in memory beside, which the system takes
            back where memory is short.
        scanned_bytes: Size of the matrix that each request goes through.
        recall: Share of the exact lists that it finds, by its own measurement.
        loads: The closed loops.
    """

    items: int
    mode: str
    ready_s: float
    own_bytes: int | None
    file_bytes: int | None
    scanned_bytes: int
    recall: float
    loads: tuple[Latency, ...]


Tell = Callable[[str], None]
# Items, and the way to find them.
Served: TypeAlias = tuple[int, RetrievalMode]


def measure_sizes(plan: ScalePlan, driver: ClosedLoop, tell: Tell) -> Iterator[ScaleRow]:
    """Write a bundle of each size, and serve it each way in turn.

    Args:
        plan: What to serve.
        driver: Of the closed loops.
        tell: Hears a line as each begins.

    Raises:
        BadInputError: A service does not start, or does not answer as it should.
    """
    for items in plan.items:
        tell(f"{items:,} items: writing the bundle")
        # In a folder of its own: of a million items it has 4.8 GB, and the next one as much.
        with tempfile.TemporaryDirectory(prefix="foldin-bench-") as folder:
            bundle = write_bundle(Shape(items, plan.hidden, plan.latent), Path(folder), plan.seed)
            catalog = synthetic_catalog(items, plan.seed)
            bodies = request_bodies(catalog, NUM_BODIES, plan.history, plan.k, plan.seed)
            for mode in plan.modes:
                tell(f"{items:,} items: {mode}")
                with running(_launch(bundle, mode, plan.threads, Path(folder))) as server:
                    yield _measured(plan, (items, mode), server, bodies, driver)


def scanned_bytes(mode: str, items: int, hidden: int) -> int:
    """Give the size of what a request goes through: the item matrix, in one form or another."""
    if mode == "exact":
        return items * hidden * 4
    if mode == "int8":
        return items * (hidden + 4)  # a scale each
    # What is left of them after the reduction, and an id each; most lists are passed over.
    return items * (kept_dim(hidden + 1) * 4 + 8)


def _launch(bundle: Path, mode: str, threads: int, folder: Path) -> Launch:
    variables = {
        "FOLDIN_MODEL_DIR": str(bundle),
        "FOLDIN_PORT": "{port}",
        "FOLDIN_RETRIEVAL": mode,
        "FOLDIN_THREADS": str(threads),
        "FOLDIN_DEVICE": "cpu",
        "FOLDIN_DEADLINE_MS": str(DEADLINE_MS),
        "FOLDIN_LOG_LEVEL": "warning",
    }
    log = folder / f"{mode}.log"
    return Launch(f"foldin, {mode}", ("-m", "service"), variables, log, START_LIMIT_S)


def _measured(
    plan: ScalePlan, served: Served, server: Server, bodies: Sequence[bytes], driver: ClosedLoop
) -> ScaleRow:
    status, answer = ask(server.port, "/recommend", bodies[0])
    if status != HTTP_OK:
        raise BadInputError(f"the service answers {status}: {answer.decode()[:200]}")
    target = Target(server.port, tuple(bodies))
    loads: list[Latency] = []
    for connections in plan.connections:
        driver.drive(target, connections, WARM_UP_S)
        before_s = cpu_seconds(server.pid)
        load = driver.drive(target, connections, plan.seconds)
        used_ms = cpu_ms_a_request(before_s, cpu_seconds(server.pid), load.requests)
        latency = Latency(connections, load.rps, load.p50_ms, load.p99_ms, used_ms, load.errors)
        loads.append(latency)
    (model,) = orjson.loads(ask(server.port, "/models")[1])["models"]
    held = memory(server.pid)
    items, mode = served
    return ScaleRow(
        items=items,
        mode=mode,
        ready_s=server.ready_s,
        own_bytes=held and held.own_bytes,
        file_bytes=held and held.file_bytes,
        scanned_bytes=scanned_bytes(mode, items, plan.hidden),
        recall=float(model["retrieval_recall"]),
        loads=tuple(loads),
    )


def cpu_ms_a_request(before_s: float | None, after_s: float | None, requests: int) -> float | None:
    """Share out what a server used between two looks; None: nobody says, or nobody asked."""
    if before_s is None or after_s is None or not requests:
        return None
    return 1e3 * (after_s - before_s) / requests
