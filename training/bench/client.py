"""A load client on asyncio: closed loop where ``wrk`` is missing, and open loop, which it lacks.

Open loop sends at fixed times whatever the server does, and counts a request's latency from the
time it was due: a server that stalls pays for every request that came meanwhile. (A closed loop
waits with it, and sees one slow request.)
"""

import asyncio
import selectors
import time
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar, final

from training.bench.load import Load, Target

Result = TypeVar("Result")
Answered = Callable[["_Connection", float, bool], None]
# After the last request was due; what is not answered then counts as an error.
PATIENCE_S: Final = 5.0
HEAD_END: Final = b"\r\n\r\n"
LENGTH: Final = b"content-length:"


@final
class AsyncioClosedLoop:
    """Drives with this process's own client: a busy core of its own, so less than ``wrk`` does."""

    name = "asyncio client"

    def drive(self, target: Target, connections: int, seconds: float) -> Load:
        """Keep the connections busy for that long."""
        return _run(_closed(target, connections, seconds))


def drive_open_loop(target: Target, connections: int, rate: float, seconds: float) -> Load:
    """Send ``rate`` requests a second, evenly spaced, over as many connections as are free.

    Args:
        target: Who is asked.
        connections: At most in use at once; a request that is due while all are waits, and the
            wait is part of its latency.
        rate: Requests a second.
        seconds: How long.
    """
    return _run(_open(target, connections, rate, seconds))


@final
class _Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request under way."""

    def __init__(self, answered: Answered) -> None:
        self._answered = answered
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._due_s: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - TCP gives no other
        self._transport = transport

    def send(self, request: bytes, due_s: float) -> None:
        """Ask; the latency counts from ``due_s``."""
        self._due_s = due_s
        if self._transport is None or self._transport.is_closing():
            self._finish(is_ok=False)
        else:
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head_end = self._received.find(HEAD_END)
        if head_end < 0:
            return
        head = bytes(self._received[:head_end]).lower()
        _, _, rest = head.partition(LENGTH)
        # Without a length the end of the answer is the end of the connection: one we lose.
        length = int(rest.split(b"\r\n", 1)[0] or 1 << 62)
        if len(self._received) >= head_end + len(HEAD_END) + length:
            self._received.clear()
            self._finish(is_ok=head.split(b" ", 2)[1] == b"200")

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self._due_s is not None:
            self._finish(is_ok=False)

    def close(self) -> None:
        self._due_s = None
        if self._transport is not None:
            self._transport.abort()

    def _finish(self, *, is_ok: bool) -> None:
        due_s, self._due_s = self._due_s, None
        if due_s is not None:
            self._answered(self, due_s, is_ok)


@final
class _Tally:
    """Latencies so far."""

    def __init__(self) -> None:
        self.latencies_s: list[float] = []
        self.errors = 0

    def add(self, due_s: float, *, is_ok: bool) -> None:
        self.latencies_s.append(time.perf_counter() - due_s)
        self.errors += not is_ok


async def _closed(target: Target, connections: int, seconds: float) -> Load:
    tally = _Tally()
    sent = 0
    started_s = time.perf_counter()

    def send(connection: _Connection) -> None:
        nonlocal sent
        sent += 1
        connection.send(target.request(sent), time.perf_counter())

    def answered(connection: _Connection, due_s: float, is_ok: bool) -> None:
        tally.add(due_s, is_ok=is_ok)
        if is_ok and time.perf_counter() < started_s + seconds:
            send(connection)

    opened = await _connect(target, connections, answered)
    started_s = time.perf_counter()
    for connection in opened:
        send(connection)
    await asyncio.sleep(seconds)
    ended_s = time.perf_counter()
    for connection in opened:
        connection.close()
    return Load.of(tally.latencies_s, tally.errors, ended_s - started_s)


async def _open(target: Target, connections: int, rate: float, seconds: float) -> Load:
    pace = _Pace(max(1, round(rate * seconds)))
    opened = await _connect(target, connections, pace.answered)
    pace.free.extend(opened)
    started_s = time.perf_counter()
    for number in range(pace.total):
        due_s = started_s + number / rate
        # Also when it is late: without a pause no answer would ever be read.
        await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
        pace.send(target.request(number), due_s)
    unanswered = await pace.finish()
    ended_s = time.perf_counter()
    for connection in opened:
        connection.close()
    return Load.of(pace.tally.latencies_s, pace.tally.errors + unanswered, ended_s - started_s)


@final
class _Pace:
    """The requests of an open loop: sent on a free connection, or waiting for one."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.tally = _Tally()
        self.free: list[_Connection] = []
        self._waiting: deque[tuple[bytes, float]] = deque()
        self._done = asyncio.Event()

    def send(self, request: bytes, due_s: float) -> None:
        if self.free:
            self.free.pop().send(request, due_s)
        else:
            self._waiting.append((request, due_s))

    def answered(self, connection: _Connection, due_s: float, is_ok: bool) -> None:
        self.tally.add(due_s, is_ok=is_ok)
        if len(self.tally.latencies_s) == self.total:
            self._done.set()
        elif self._waiting:
            connection.send(*self._waiting.popleft())
        else:
            self.free.append(connection)

    async def finish(self) -> int:
        """Wait for the last answers; tell how many never came."""
        try:
            await asyncio.wait_for(self._done.wait(), PATIENCE_S)
        except TimeoutError:
            return self.total - len(self.tally.latencies_s)
        return 0


async def _connect(target: Target, connections: int, answered: Answered) -> list[_Connection]:
    loop = asyncio.get_running_loop()
    pairs = [
        await loop.create_connection(lambda: _Connection(answered), "127.0.0.1", target.port)
        for _ in range(connections)
    ]
    return [connection for _, connection in pairs]


def _run(work: Coroutine[Any, Any, Result]) -> Result:
    # epoll and uvloop wake up at whole milliseconds, later than a request is due; select does not.
    with asyncio.Runner(loop_factory=_select_loop) as runner:
        return runner.run(work)


def _select_loop() -> asyncio.AbstractEventLoop:
    return asyncio.SelectorEventLoop(selectors.SelectSelector())
