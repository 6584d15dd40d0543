"""Lines of a body, whatever the pieces in which it arrives."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from service.api.lines import is_ndjson, lines_of

MAX_BYTES = 8


def sender(pieces: Sequence[bytes], *, leaves: bool = False) -> Receive:
    messages: list[Message] = [
        {"type": "http.request", "body": piece, "more_body": True} for piece in pieces
    ]
    messages.append({"type": "http.disconnect"} if leaves else {"type": "http.request"})
    waiting = iter(messages)

    async def receive() -> Message:
        return next(waiting)

    return receive


async def lines(pieces: Sequence[bytes]) -> list[bytes | None]:
    return [line async for line in lines_of(sender(pieces), MAX_BYTES)]


@given(st.lists(st.text("ab \n").map(str.encode), max_size=12))
async def test_lines_are_those_of_the_whole_body(pieces: list[bytes]) -> None:
    whole = [
        line for line in b"".join(pieces).split(b"\n") if len(line) > MAX_BYTES or line.strip()
    ]
    assert await lines(pieces) == [None if len(line) > MAX_BYTES else line for line in whole]


async def test_a_line_that_is_too_long_takes_no_other_with_it() -> None:
    assert await lines([b"a\n12345678", b"9\nb\n12345678\n"]) == [b"a", None, b"b", b"12345678"]


async def test_the_last_line_needs_no_newline() -> None:
    assert await lines([b"a\nb"]) == [b"a", b"b"]
    assert await lines([b"a\n123456789"]) == [b"a", None]


async def test_blank_lines_are_no_rows() -> None:
    assert await lines([b"\n\r\n", b"a\r\n \n"]) == [b"a\r"]
    assert await lines([]) == []


async def test_a_caller_who_leaves_within_the_body_is_noticed() -> None:
    reading = lines_of(sender([b"a\nb"], leaves=True), MAX_BYTES)
    assert await anext(reading) == b"a"
    with pytest.raises(ClientDisconnect):
        await anext(reading)


async def test_a_line_that_is_left_half_sent_ends_the_stream_and_a_pause_between_lines_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.api.lines.BODY_TIMEOUT_S", 0.02)
    pieces = iter([b"a\n", b"b\nhal", b"f"])

    async def receive() -> Message:
        await asyncio.sleep(0.1)
        return {"type": "http.request", "body": next(pieces), "more_body": True}

    reading = lines_of(receive, MAX_BYTES)
    assert [await anext(reading), await anext(reading)] == [b"a", b"b"]
    with pytest.raises(ClientDisconnect):
        await anext(reading)


async def test_nothing_is_received_before_the_line_before_is_taken() -> None:
    asked = 0

    async def receive() -> Message:
        nonlocal asked
        asked += 1
        return {"type": "http.request", "body": b"a\n", "more_body": asked < 3}

    async for _ in lines_of(receive, MAX_BYTES):
        assert asked == 1
        break


@pytest.mark.parametrize(
    ("content_type", "answer"),
    [
        (b"application/x-ndjson", True),
        (b"Application/X-NDJSON; charset=utf-8", True),
        (b"application/json", False),
        (b"", False),
    ],
)
def test_a_stream_says_that_it_is_one(content_type: bytes, answer: bool) -> None:
    assert is_ndjson({"headers": [(b"content-type", content_type)]}) is answer
