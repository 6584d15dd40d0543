"""Ten minutes of mixed load on a real server with real Redis, while things break: all stays flat.

``SOAK_SECONDS`` makes it shorter or longer. What happens in each tenth of it is fixed: a model is
exchanged in every one, a worker is killed in the second, Redis is killed and comes back in the
third. A new worker shares its parent's memory, and takes three exchanges to hold what it will: so
the fifth to seventh tenth are compared with the last three, in which the same models come round.
"""

import asyncio
import hashlib
import os
import random
import signal
import statistics
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.redis,
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="/proc, SIGHUP and forked workers"),
]

SECONDS: Final = float(os.environ.get("SOAK_SECONDS", "600"))
TENTH_S: Final = SECONDS / 10
NUM_ITEMS: Final = 5_000
NUM_BUNDLES: Final = 3  # as many as it takes for the next one not to be in memory yet
WORKERS: Final = 2
CALLERS: Final = 8
PAUSE_S: Final = 0.02
REDIS_OUT_S: Final = 3.0
SAMPLE_S: Final = 1.0
WAIT_S: Final = 60.0
KEY: Final = "k3y-of-an-admin"
HEADERS: Final = {"X-API-Key": KEY}
# What is wrong with each, and how it is answered.
BAD: Final = (
    ("POST", "/recommend", b"{", 400),
    ("POST", "/recommend", b'{"history": ["i1"], "k": 0}', 422),
    ("POST", "/recommend", b'{"history": [' + b'"i1",' * 2_000_000 + b'"i1"]}', 413),
    ("DELETE", "/recommend", b"", 405),
    ("GET", "/nowhere", b"", 404),
    ("POST", "/models/tiny/reload", b"", 401),
)


@dataclass(frozen=True, slots=True)
class Sample:
    """What all processes of the service hold together, at a time."""

    at_s: float
    memory_kib: int
    files: int
    threads: int


@dataclass
class Seen:
    """What callers saw."""

    answers: Counter[str] = field(default_factory=Counter)
    wrong: list[object] = field(default_factory=list)
    broken_off: int = 0
    versions: set[str] = field(default_factory=set)
    lists: dict[tuple[str, str], object] = field(default_factory=dict)
    killing: bool = False

    def take(self, kind: str, answer: httpx.Response, status: int) -> None:
        self.answers[kind] += 1
        if answer.status_code != status:
            self.wrong.append((kind, answer.status_code, answer.text[:200]))

    def take_list(self, history: list[str], body: dict[str, Any]) -> None:
        """A version that was ever asked for a history gives the same list for it, always."""
        version = body["model"]["version"]
        self.versions.add(version)
        items = [item["item_id"] for item in body["items"]]
        if self.lists.setdefault((version, "".join(history)), items) != items:
            self.wrong.append((version, history, items))


async def one_list(client: httpx.AsyncClient, seen: Seen, chance: random.Random) -> None:
    start = chance.randrange(200)
    body: dict[str, Any] = {"history": [f"i{start}", f"i{start + 7}"], "k": 10}
    if chance.random() < 0.3:
        body["user_id"] = f"user-{chance.randrange(300)}"
    answer = await client.post("/recommend", json=body)
    seen.take("list", answer, 200)
    if answer.status_code == 200:
        seen.take_list(body["history"], answer.json())


async def many_lists(client: httpx.AsyncClient, seen: Seen, chance: random.Random) -> None:
    starts = [chance.randrange(200) for _ in range(16)]
    requests = [{"history": [f"i{start}", f"i{start + 7}"], "k": 10} for start in starts]
    answer = await client.post("/recommend/batch", json={"requests": requests})
    seen.take("batch", answer, 200)


async def of_kept_user(client: httpx.AsyncClient, seen: Seen, chance: random.Random) -> None:
    answer = await client.get(f"/users/user-{chance.randrange(300)}/recommendations")
    seen.take("kept user", answer, 200)


async def bad_request(client: httpx.AsyncClient, seen: Seen, chance: random.Random) -> None:
    method, path, content, status = chance.choice(BAD)
    headers = {"Content-Type": "application/json"}
    answer = await client.request(method, path, content=content, headers=headers)
    seen.take(f"bad, {status}", answer, status)


ASKS: Final = (one_list, many_lists, of_kept_user, bad_request)
WEIGHTS: Final = (60, 8, 30, 2)


async def call(url: str, seen: Seen, chance: random.Random) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=WAIT_S) as client:
        while True:
            (ask,) = chance.choices(ASKS, WEIGHTS)
            try:
                await ask(client, seen, chance)
            except httpx.TransportError as error:
                # Nobody can answer what a killed process had in hand, and only that is let pass.
                seen.broken_off += seen.killing
                if not seen.killing:
                    seen.wrong.append((ask.__name__, repr(error)))
            await asyncio.sleep(PAUSE_S)


def processes_of(parent: int) -> list[int]:
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [parent, *map(int, children)]


def sample(parent: int, at_s: float) -> Sample | None:
    """Add up over parent and workers; None: one of them has just ended."""
    memory_kib = files = threads = 0
    try:
        processes = processes_of(parent)
        for pid in processes:
            # Of pages that several share, each process has its part; not of files: others on the
            # machine share them, and when one of those ends, our part of torch grows.
            shares = Path(f"/proc/{pid}/smaps_rollup").read_text()
            memory_kib += int(shares.split("\nPss_Anon:")[1].split()[0])
            files += len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - links, some gone by now
            threads += len(os.listdir(f"/proc/{pid}/task"))  # noqa: PTH208 - as above
    except (OSError, IndexError):
        return None
    return Sample(at_s, memory_kib, files, threads) if len(processes) == 1 + WORKERS else None


async def watch(parent: int, began_s: float, samples: list[Sample]) -> None:
    while True:
        taken = await asyncio.to_thread(sample, parent, time.monotonic() - began_s)
        if taken is not None:
            samples.append(taken)
        await asyncio.sleep(SAMPLE_S)


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    give_up_s = time.monotonic() + WAIT_S
    while not await condition():
        assert time.monotonic() < give_up_s
        await asyncio.sleep(0.05)


class Soak:
    """The service, its Redis, and what is done to them."""

    def __init__(self, running: Any, redis: Any, bundles: list[Path], seen: Seen) -> None:  # noqa: ANN401 - of fixtures that cannot be imported
        self._running = running
        self._redis = redis
        self._bundles = bundles
        self._seen = seen
        self._swaps = 0

    async def pass_by(self, began_s: float) -> None:
        """Let ten tenths go by, each with what happens in it."""
        await self._swap()  # from the next one on two models are held
        for tenth in range(10):
            await self._swap()
            if tenth == 1:
                await self._lose_worker()
            if tenth == 2:
                await self._lose_redis()
            await asyncio.sleep(max(0.0, began_s + (tenth + 1) * TENTH_S - time.monotonic()))

    async def _swap(self) -> None:
        self._swaps += 1
        bundle = self._bundles[self._swaps % NUM_BUNDLES]
        pointer = bundle.parent / ".next"
        pointer.write_text(bundle.name)
        pointer.rename(bundle.parent / "CURRENT")
        async with httpx.AsyncClient(base_url=self._running.url, timeout=WAIT_S) as client:
            if self._swaps % 2:
                self._running.process.send_signal(signal.SIGHUP)
            else:
                answer = await client.post("/models/tiny/reload", headers=HEADERS)
                assert answer.json()["outcome"] in {"swapped", "unchanged"}, answer.text

            async def has() -> bool:
                (card,) = (await client.get("/models")).json()["models"]
                return bool(card["workers"] == {bundle.name: WORKERS})

            await until(has)

    async def _lose_redis(self) -> None:
        self._redis.kill()
        await asyncio.sleep(min(REDIS_OUT_S, TENTH_S / 2))
        await asyncio.to_thread(self._redis.start)

    async def _lose_worker(self) -> None:
        parent = self._running.process.pid
        before = processes_of(parent)
        self._seen.killing = True
        os.kill(before[1], signal.SIGKILL)

        async def is_replaced() -> bool:
            now = processes_of(parent)
            return len(now) == len(before) and before[1] not in now

        await until(is_replaced)
        await asyncio.sleep(0.5)
        self._seen.killing = False


def of_tenths(samples: list[Sample], first: int, count: int = 1) -> list[Sample]:
    ends_s = (first + count) * TENTH_S
    found = [one for one in samples if first * TENTH_S <= one.at_s < ends_s]
    assert found
    return found


def show(samples: list[Sample], seen: Seen, series: int) -> None:
    """Print the figures, for whoever runs this with -s."""
    for tenth in range(10):
        found = of_tenths(samples, tenth)
        print(  # noqa: T201 - as the name says
            f"tenth {tenth + 1:2}: {statistics.mean(s.memory_kib for s in found) / 1024:7.1f} MiB, "
            f"at most {max(s.files for s in found)} files, {max(s.threads for s in found)} threads"
        )
    print(dict(seen.answers), f"{seen.broken_off} broken off, {series} series")  # noqa: T201 - as above


async def test_nothing_fails_and_nothing_grows(
    service_process: Callable[..., Any],
    redis_process: Callable[..., Any],
    write_bundle: Callable[..., Path],
    tmp_path: Path,
) -> None:
    folder = tmp_path / "models"
    bundles = [write_bundle(folder, NUM_ITEMS, name="tiny", seed=n) for n in range(NUM_BUNDLES)]
    redis = redis_process()
    running = await asyncio.to_thread(
        service_process,
        model_dir=folder,
        workers=WORKERS,
        redis_url=redis.url,
        admin_keys_sha256=hashlib.sha256(KEY.encode()).hexdigest(),
        log_level="warning",
    )
    seen, samples = Seen(), list[Sample]()
    began_s = time.monotonic()
    tasks = [asyncio.create_task(call(running.url, seen, random.Random(n))) for n in range(CALLERS)]
    tasks.append(asyncio.create_task(watch(running.process.pid, began_s, samples)))
    await Soak(running, redis, bundles, seen).pass_by(began_s)
    page = await asyncio.to_thread(lambda: httpx.get(f"{running.url}/metrics").text)
    for task in tasks:
        assert not task.done(), task
        task.cancel()
    await asyncio.wait(tasks)

    series = sum(not line.startswith("#") for line in page.splitlines())
    show(samples, seen, series)
    assert seen.wrong == []
    assert seen.broken_off <= CALLERS
    assert seen.versions == {bundle.name for bundle in bundles}
    assert "Traceback" not in running.log.read_text()
    assert series < 300
    early, late = of_tenths(samples, 4, 3), of_tenths(samples, 7, 3)
    memory = [statistics.mean(s.memory_kib for s in of) for of in (early, late)]
    assert memory[1] <= 1.05 * memory[0], memory
    assert max(s.files for s in late) <= max(s.files for s in early) + CALLERS
    assert max(s.threads for s in late) <= max(s.threads for s in early) + WORKERS
