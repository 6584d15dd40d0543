"""A stream of rows holds few of them, keeps their order, and ends when its caller leaves."""

import asyncio
from collections.abc import Callable

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from service.api.row_stream import AnswerLine, RowStream, StreamLimits, Write
from service.api.stream_end import StreamEnd

ROWS = 4
WAIT_S = 5.0


class Connection:
    """The two ends of an ASGI connection; a caller's buffers are as small as can be."""

    def __init__(self) -> None:
        self.body: asyncio.Queue[Message] = asyncio.Queue()
        self.sent: list[Message] = []
        self.reads = asyncio.Event()
        self.reads.set()
        self.received = 0
        self.end = StreamEnd()

    def post(self, body: bytes, *, more: bool = True) -> None:
        self.body.put_nowait({"type": "http.request", "body": body, "more_body": more})

    def leave(self) -> None:
        self.body.put_nowait({"type": "http.disconnect"})

    async def receive(self) -> Message:
        message = await self.body.get()
        self.received += 1
        return message

    async def send(self, message: Message) -> None:
        await self.reads.wait()
        self.sent.append(message)

    def start(self, answer: AnswerLine, num_bytes: int = 100) -> asyncio.Task[None]:
        stream = RowStream(answer, StreamLimits(ROWS, num_bytes), self.end)
        return asyncio.create_task(stream({"type": "http"}, self.receive, self.send))

    @property
    def answer(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


class Rows:
    """Answers lines with themselves, when it is let."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.under_way = 0
        self.most = 0
        self.cancelled = 0

    async def __call__(self, line: bytes | None) -> Write:
        if line == b"":
            return lambda: b"the end"
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.under_way -= 1
        return lambda: line or b"too long"


async def settle() -> None:
    for _ in range(200):
        await asyncio.sleep(0)


async def ended(task: asyncio.Task[None]) -> None:
    await asyncio.wait_for(task, WAIT_S)


def slower(delay_s: Callable[[bytes], float]) -> AnswerLine:
    async def answer(line: bytes | None) -> Write:
        assert line is not None
        await asyncio.sleep(delay_s(line))
        return lambda: line

    return answer


async def test_answers_keep_the_order_of_the_rows() -> None:
    connection = Connection()
    connection.post(b"3\n1\n2\n0\n5\n", more=False)
    await ended(connection.start(slower(lambda line: int(line) / 200)))
    assert connection.answer == b"3\n1\n2\n0\n5\n"
    head, *_, end = connection.sent
    assert (b"content-type", b"application/x-ndjson") in head["headers"]
    assert not any(name == b"content-length" for name, _ in head["headers"])
    assert not end.get("more_body", False)


async def test_a_row_is_answered_before_the_next_one_is_posted() -> None:
    connection, rows = Connection(), Rows()
    rows.go.set()
    task = connection.start(rows)
    connection.post(b"a\n")
    await settle()
    assert connection.answer == b"a\n"
    connection.post(b"b", more=False)
    await ended(task)
    assert connection.answer == b"a\nb\n"


async def test_no_more_rows_are_under_way_than_may_be() -> None:
    connection, rows = Connection(), Rows()
    for _ in range(50):
        connection.post(b"row\n" * 3)
    connection.post(b"", more=False)
    task = connection.start(rows)
    await settle()
    assert rows.under_way == ROWS
    assert connection.received == 2  # the rest waits with the caller
    rows.go.set()
    await ended(task)
    assert connection.answer == b"row\n" * 150
    assert rows.most == ROWS


async def test_long_rows_are_fewer_at_once() -> None:
    connection, rows = Connection(), Rows()
    connection.post((b"x" * 40 + b"\n") * 5, more=False)
    task = connection.start(rows, num_bytes=100)
    await settle()
    assert rows.under_way == 2
    rows.go.set()
    await ended(task)
    assert connection.answer == (b"x" * 40 + b"\n") * 5


async def test_who_does_not_read_answers_is_not_read_either() -> None:
    connection, rows = Connection(), Rows()
    rows.go.set()
    for _ in range(50):
        connection.post(b"row\n")
    task = connection.start(rows)
    await settle()
    connection.reads.clear()
    for _ in range(50):
        connection.post(b"row\n")
    connection.post(b"", more=False)
    await settle()
    assert connection.received <= 50 + ROWS + 1
    connection.reads.set()
    await ended(task)
    assert connection.answer == b"row\n" * 100


async def test_a_line_that_is_too_long_is_answered_as_such() -> None:
    connection, rows = Connection(), Rows()
    rows.go.set()
    connection.post(b"a\n" + b"x" * 101 + b"\nb\n", more=False)
    await ended(connection.start(rows))
    assert connection.answer == b"a\ntoo long\nb\n"


@pytest.mark.parametrize("more", [True, False])
async def test_rows_of_a_caller_who_left_are_cancelled(more: bool) -> None:
    connection, rows = Connection(), Rows()
    task = connection.start(rows)
    connection.post(b"a\nb\n", more=more)
    await settle()
    assert rows.under_way == 2
    connection.leave()
    with pytest.raises(ClientDisconnect):
        await ended(task)
    assert (rows.under_way, rows.cancelled) == (0, 2)
    assert connection.answer == b""


async def test_a_row_that_cannot_be_written_breaks_the_stream_off() -> None:
    async def broken(line: bytes | None) -> Write:
        raise RuntimeError(line)

    connection = Connection()
    connection.post(b"a\n")
    with pytest.raises(ExceptionGroup) as caught:
        await ended(connection.start(broken))
    assert caught.group_contains(RuntimeError, match="a")


async def test_a_stream_ends_with_the_service_and_what_is_under_way_is_answered() -> None:
    connection, rows = Connection(), Rows()
    connection.post(b"a\nb\nc\nd\ne\n")  # one more than may be under way
    task = connection.start(rows)
    await settle()
    connection.end.come()
    connection.post(b"f\n")
    rows.go.set()
    await ended(task)
    assert connection.answer == b"a\nb\nc\nd\nthe end\n"
    assert not connection.sent[-1].get("more_body", False)


async def test_a_stream_that_waits_for_rows_ends_with_the_service() -> None:
    rows = Rows()
    rows.go.set()
    for body in b"a\n", b"a\nhalf a r":
        connection = Connection()
        connection.post(body)
        task = connection.start(rows)
        await settle()
        assert not task.done()
        connection.end.come()
        await ended(task)
        assert connection.answer == b"a\nthe end\n"
        assert not connection.sent[-1].get("more_body", False)


async def test_who_leaves_a_stream_that_ends_cancels_its_rows() -> None:
    connection, rows = Connection(), Rows()
    connection.post(b"a\nb\n")
    task = connection.start(rows)
    await settle()
    connection.end.come()
    connection.leave()
    with pytest.raises(ClientDisconnect):
        await ended(task)
    assert rows.cancelled == 2
