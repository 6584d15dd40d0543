"""SIGTERM under load: the probe fails at once, and no caller is left without an answer."""

import asyncio
import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.server import SHUTDOWN_S

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to handle"),
]

StartServer = Callable[..., Any]
NUM_ITEMS = 200
GRACE_S = 0.5
WAIT_S = 60.0
BODY = b'{"history": ["i1", "i2"], "k": 5}'
REQUEST = b"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
ROWS = REQUEST.replace(b"recommend", b"recommend/batch").replace(b"json", b"x-ndjson")
ROWS += b"Transfer-Encoding: chunked\r\n\r\n"
REQUEST += b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)


@pytest.fixture(scope="session")
def model_dir(write_bundle: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("drained")
    write_bundle(path, NUM_ITEMS, name="tiny")
    return path


async def answer_of(reader: asyncio.StreamReader) -> tuple[str, bool]:
    """Read one answer: its status, and whether the connection may be used again."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = head.split(b"content-length: ")[1].split(b"\r\n")[0]
    await reader.readexactly(int(length))
    return head.split()[1].decode(), b"connection: close" not in head


async def call_until_refused(port: int, seen: Counter[str], *, keeps: bool) -> None:
    """Ask one request after another until nobody listens any more; count how each one ended.

    A real client, down to the socket: httpx would connect again of its own accord.
    """
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            return
        except OSError as error:
            seen[f"connect: {type(error).__name__}"] += 1
            continue
        try:
            goes_on = True
            while goes_on:
                writer.write(REQUEST)
                status, may_go_on = await answer_of(reader)
                seen[status] += 1
                goes_on = keeps and may_go_on
        except (OSError, asyncio.IncompleteReadError) as error:
            seen[type(error).__name__] += 1
        finally:
            writer.close()


async def under_load(running: Any, during: Callable[[], Awaitable[None]]) -> Counter[str]:  # noqa: ANN401 - a server of the fixture
    seen: Counter[str] = Counter()
    callers = [
        asyncio.create_task(call_until_refused(running.port, seen, keeps=bool(number % 2)))
        for number in range(8)
    ]
    await asyncio.sleep(0.3)
    await during()
    await asyncio.wait_for(asyncio.gather(*callers), WAIT_S)
    return seen


async def drained(running: Any) -> None:  # noqa: ANN401 - as above
    """Send SIGTERM; see that the probe fails at once while requests are answered."""
    async with httpx.AsyncClient(base_url=running.url, timeout=WAIT_S) as client:
        assert (await client.get("/readyz")).status_code == 200
        sent_s = time.monotonic()
        running.process.send_signal(signal.SIGTERM)
        while (probe := await client.get("/readyz")).status_code == 200:
            assert time.monotonic() < sent_s + GRACE_S
        assert probe.json()["type"] == "/problems/draining"
        assert probe.headers["connection"] == "close"
        answer = await client.post("/recommend", json={"history": ["i1"]})
        if time.monotonic() < sent_s + GRACE_S:
            assert answer.status_code == 200


async def ends_without_a_failure(start: Callable[[], Any]) -> None:
    running = await asyncio.to_thread(start)
    seen = await under_load(running, lambda: drained(running))
    assert set(seen) == {"200"}
    assert seen["200"] > 20
    assert await asyncio.to_thread(running.process.wait, WAIT_S) == 0
    assert "Traceback" not in running.log.read_text()


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_server_that_ends_under_load_fails_nobody(
    service_process: StartServer, model_dir: Path, workers: int
) -> None:
    def start() -> Any:  # noqa: ANN401 - as above
        return service_process(model_dir=model_dir, workers=workers, drain_grace_s=GRACE_S)

    await ends_without_a_failure(start)


@pytest.mark.slow
@pytest.mark.parametrize("repeat", range(20))
async def test_twenty_servers_that_end_under_load_fail_nobody(
    service_process: StartServer, model_dir: Path, repeat: int
) -> None:
    def start() -> Any:  # noqa: ANN401 - as above
        workers = 1 + repeat % 2
        return service_process(model_dir=model_dir, workers=workers, drain_grace_s=GRACE_S)

    await ends_without_a_failure(start)


async def stream_until_it_ends(port: int, pause_s: float) -> tuple[int, str]:
    """Send a row after each pause; count the answers, and give the last line before their end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(ROWS)

    async def send() -> None:
        while True:
            writer.write(b"%x\r\n%b\n\r\n" % (len(BODY) + 1, BODY))
            await asyncio.sleep(pause_s)

    sending = asyncio.create_task(send())
    head = await reader.readuntil(b"\r\n\r\n")
    assert b" 200 " in head
    lines: list[dict[str, Any]] = []
    while (size := int(await reader.readline(), 16)) != 0:
        lines.append(json.loads(await reader.readexactly(size)))
        await reader.readexactly(2)
    assert await reader.readexactly(2) == b"\r\n"
    sending.cancel()
    writer.close()
    *answers, last = lines
    assert all("items" in answer for answer in answers)
    return len(answers), last["type"]


async def test_streams_without_end_are_answered_and_end_with_the_server(
    service_process: StartServer, model_dir: Path
) -> None:
    running = await asyncio.to_thread(
        lambda: service_process(model_dir=model_dir, drain_grace_s=GRACE_S)
    )
    pauses_s = (0.05, 3600)
    streams = [
        asyncio.create_task(stream_until_it_ends(running.port, pause_s)) for pause_s in pauses_s
    ]
    await asyncio.sleep(0.3)
    running.process.send_signal(signal.SIGTERM)
    sent_s = time.monotonic()
    busy, idle = await asyncio.wait_for(asyncio.gather(*streams), WAIT_S)
    assert busy[0] > 4
    assert busy[1] == "/problems/draining"
    assert idle == (1, "/problems/draining")
    assert await asyncio.to_thread(running.process.wait, WAIT_S) == 0
    assert time.monotonic() < sent_s + SHUTDOWN_S
    log = running.log.read_text()
    assert "Traceback" not in log
    assert "Cancel" not in log


def test_a_second_signal_ends_the_grace(service_process: StartServer, model_dir: Path) -> None:
    running = service_process(model_dir=model_dir, drain_grace_s=3600)
    running.process.send_signal(signal.SIGTERM)
    with httpx.Client(base_url=running.url) as client:
        for _ in range(100):
            if client.get("/readyz").status_code == 503:
                break
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(WAIT_S) == 0
