"""Rows in, lists out, line by line: any number of them in the memory of a few.

A row is under way from the moment it is read until its answer is handed to the connection. When
as many are under way as may be, nothing more is read, and the caller's own writes come to a stop;
when the caller does not read the answers, none of the rows ends, and it is the same.

A stream ends with its body, or with the service: then what is under way is answered, and one line
more says why there is no other, in the place of the first row that is not answered.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias, final

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.api.lines import NDJSON, lines_of
from service.api.stream_end import StreamEnd
from service.errors import DrainingError

# How long the last line of a stream that is ended may travel. To close on a caller who still sends
# would reset the connection, and what is on its way would be lost; what comes is passed over.
FAREWELL_S: Final = 0.25

# Gives what is to be written into the answer's line; never raises but when it is cancelled. It is
# split in two so that the answers of one engine batch are not all written in one go.
Write: TypeAlias = Callable[[], bytes]
AnswerLine: TypeAlias = Callable[[bytes | None], Coroutine[Any, Any, Write]]


@final
@dataclass(frozen=True, slots=True)
class StreamLimits:
    """How much of a stream may be held.

    Attributes:
        rows: That are under way at once.
        num_bytes: Of a line, and of all lines that are under way; one is always let in.
    """

    rows: int
    num_bytes: int


@final
class RowStream(Response):
    """Reads the lines of the request and answers each by a line, in order.

    What is not received yet is left to the sender, so the body must not have been read before.

    Args:
        answer: Answers one line; None stands for a line that is too long. Once the end has come,
            its answer says so.
        limits: How much may be held.
        end: What ends it before its body does.
    """

    media_type = NDJSON

    def __init__(self, answer: AnswerLine, limits: StreamLimits, end: StreamEnd) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._answer = answer
        self._limits = limits
        self._end = end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer until the body ends, or the service.

        Raises:
            ClientDisconnect: The caller left; rows that were under way are cancelled.
        """
        del scope
        head = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(head)
        has_left = False
        try:
            async with asyncio.TaskGroup() as group:
                under_way = _UnderWay(self._limits)
                reading = group.create_task(self._read(receive, under_way, group))
                await _write(send, under_way)
                if self._end.has_come:
                    await asyncio.sleep(FAREWELL_S)
                reading.cancel()  # before the end is sent, which looks to it as if the caller left
        except* ClientDisconnect:
            has_left = True
        if has_left:
            raise ClientDisconnect
        await send({"type": "http.response.body", "body": b""})

    async def _read(
        self, receive: Receive, under_way: "_UnderWay", group: asyncio.TaskGroup
    ) -> None:
        until_the_end = partial(self._end.receive_before, receive)
        try:
            async for line in lines_of(until_the_end, self._limits.num_bytes):
                num_bytes = len(line or b"")
                await under_way.room_for(num_bytes)
                self._end.require_not_come()
                under_way.add(_Row(group.create_task(self._answer(line)), num_bytes))
                await asyncio.sleep(0)  # a piece of a body may have a thousand lines
        except DrainingError:
            under_way.add(_Row(group.create_task(self._answer(b"")), 0))
        under_way.add(None)
        while (await receive())["type"] != "http.disconnect":
            pass
        raise ClientDisconnect


async def _write(send: Send, under_way: "_UnderWay") -> None:
    while (row := await under_way.first()) is not None:
        write = await row.answer
        await send({"type": "http.response.body", "body": write() + b"\n", "more_body": True})
        under_way.done(row)
        await asyncio.sleep(0)  # a batch of the engine ends many rows at once


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Row:
    answer: asyncio.Task[Write]
    num_bytes: int


@final
class _UnderWay:
    """The rows that are read and not yet answered, the first one first; None ends them."""

    def __init__(self, limits: StreamLimits) -> None:
        self._limits = limits
        self._rows = 0
        self._num_bytes = 0
        self._queue: asyncio.Queue[_Row | None] = asyncio.Queue()
        self._ended = asyncio.Event()

    async def room_for(self, num_bytes: int) -> None:
        while self._rows and (
            self._rows >= self._limits.rows or self._num_bytes + num_bytes > self._limits.num_bytes
        ):
            self._ended.clear()
            await self._ended.wait()

    def add(self, row: _Row | None) -> None:
        if row is not None:
            self._rows += 1
            self._num_bytes += row.num_bytes
        self._queue.put_nowait(row)

    async def first(self) -> _Row | None:
        return await self._queue.get()

    def done(self, row: _Row) -> None:
        self._rows -= 1
        self._num_bytes -= row.num_bytes
        self._ended.set()
