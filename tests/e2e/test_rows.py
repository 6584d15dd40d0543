"""A real server streams rows: any number in flat memory, order kept, and no work for who left."""

import asyncio
import doctest
import json
import re
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, final

import httpx
import numpy as np
import pytest

from service import client
from service.catalog import Catalog

pytestmark = pytest.mark.e2e

StartServer = Callable[..., Any]
WAIT_S = 60.0
HEAD = (
    b"POST /recommend/batch HTTP/1.1\r\nHost: x\r\n"
    b"Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
)
HISTORY = [f"i{index}" for index in range(100)]


@final
class Stream:
    """A caller who sends and reads at the same time, down to the socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int) -> "Stream":
        stream = cls(*await asyncio.open_connection("127.0.0.1", port))
        stream.writer.write(HEAD)
        return stream

    async def send(self, rows: int, *, end: bool = True) -> None:
        """Send rows that ask for 1, 2, 3 and so on up to 60 items, and again."""
        for number in range(rows):
            line = json.dumps({"history": HISTORY, "k": number % 60 + 1}).encode() + b"\n"
            self.writer.write(b"%x\r\n%b\r\n" % (len(line), line))
            await self.writer.drain()
        if end:
            self.writer.write(b"0\r\n\r\n")

    async def answers(self) -> AsyncIterator[dict[str, Any]]:
        head = await self.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        rest = b""
        while size := int(await self.reader.readline(), 16):
            *lines, rest = (rest + await self.reader.readexactly(size)).split(b"\n")
            await self.reader.readexactly(2)
            for line in lines:
                yield json.loads(line)
        assert not rest

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


def resident_bytes(pid: int) -> int:
    """Give the memory of a process that is its own."""
    rollup = Path(f"/proc/{pid}/statm").read_text().split()
    return (int(rollup[1]) - int(rollup[2])) * 4096


def answered(url: str) -> int:
    """Give how many lists the server has made."""
    metrics = httpx.get(f"{url}/metrics").text
    counts = re.findall(r"^foldin_recommendations_total\{.*\} ([0-9.e+]+)$", metrics, re.MULTILINE)
    return int(sum(map(float, counts)))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("rows", [20_000, pytest.param(400_000, marks=pytest.mark.slow)])
async def test_many_rows_take_the_memory_of_a_few(server: StartServer, rows: int) -> None:
    running = server()
    stream = await Stream.open(running.port)
    sending = asyncio.create_task(stream.send(rows))
    number = early_bytes = 0
    async for answer in stream.answers():
        assert len(answer["items"]) == number % 60 + 1
        number += 1
        if number == 2000:  # by then what is warmed up by work is warm
            early_bytes = resident_bytes(running.process.pid)
    await sending
    await stream.close()
    assert number == rows
    # Bodies of 15 MB went in, and answers of 30 MB came out.
    assert resident_bytes(running.process.pid) - early_bytes < 8 * 1024 * 1024


async def test_a_caller_who_does_not_read_is_not_read(server: StartServer) -> None:
    running = server()
    stream = await Stream.open(running.port)
    sending = asyncio.create_task(stream.send(40_000))
    before = -1
    give_up_at = time.monotonic() + WAIT_S
    while (now := await asyncio.to_thread(answered, running.url)) != before:
        before = now
        assert time.monotonic() < give_up_at
        await asyncio.sleep(0.5)
    assert 0 < now < 40_000
    assert not sending.done()
    # Others are served all the same.
    answer = await asyncio.to_thread(
        httpx.post, f"{running.url}/recommend", json={"history": ["i1"]}
    )
    assert answer.status_code == 200
    sending.cancel()
    stream.writer.transport.abort()


async def test_work_ends_when_the_caller_leaves(server: StartServer) -> None:
    running = server(max_batch=1)
    for ends in (True, False):
        stream = await Stream.open(running.port)
        sending = asyncio.create_task(stream.send(300 if ends else 40_000, end=ends))
        async for _ in stream.answers():
            break
        sending.cancel()
        stream.writer.transport.abort()
        await asyncio.sleep(1)
        after_a_second = await asyncio.to_thread(answered, running.url)
        await asyncio.sleep(0.3)
        assert await asyncio.to_thread(answered, running.url) == after_a_second < 40_000
    lines = [json.loads(line) for line in running.log.read_text().splitlines()]
    assert not [line for line in lines if line["level"] in ("error", "critical")]
    routes = [line["route"] for line in lines if "route" in line]
    assert routes.count("/recommend/batch") == 2


def test_the_client_does_what_it_says(
    service_process: StartServer, write_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    item_ids = ("1", "260", "1196", "1210", *(f"i{index}" for index in range(200)))
    count = len(item_ids)
    write_bundle(tmp_path, Catalog(item_ids, item_ids, (("Drama",),) * count, np.arange(count)))
    running = service_process(model_dir=tmp_path)
    text = (client.__doc__ or "").replace("http://127.0.0.1:8000", running.url)
    examples = doctest.DocTestParser().get_doctest(text, {}, "client", None, None)
    assert len(examples.examples) >= 4
    report: list[str] = []
    result = doctest.DocTestRunner().run(examples, out=report.append)
    assert result.failed == 0, "".join(report)

    # More than the buffers of a connection hold, which would be the end of a client that sends
    # all of it before it reads.
    rows: list[client.Row] = [{"history": HISTORY, "k": n % 60 + 1} for n in range(5000)]
    with client.Client(running.url) as foldin:
        answers = foldin.batch(rows)
    assert [
        0 if isinstance(answer, client.ServiceError) else len(answer["items"]) for answer in answers
    ] == [row["k"] for row in rows]
