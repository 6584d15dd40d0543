"""A body is read to its end, or to the point where it is none."""

import asyncio
from collections.abc import Iterator

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message, Scope

from service.api.bodies import header, read_json
from service.api.problems import BodyTooSlowError

SCOPE: Scope = {"type": "http", "headers": [(b"content-type", b"application/json")]}


async def test_a_caller_who_leaves_within_the_body_is_not_answered() -> None:
    messages: Iterator[Message] = iter(
        [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
    )

    async def receive() -> Message:
        return next(messages)

    with pytest.raises(ClientDisconnect):
        await read_json(SCOPE, receive, 100)


async def test_a_body_that_stalls_is_waited_for_so_long_and_no_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.api.bodies.BODY_TIMEOUT_S", 0.02)
    messages: Iterator[Message] = iter([{"type": "http.request", "body": b"{", "more_body": True}])

    async def receive() -> Message:
        for message in messages:
            return message
        return await asyncio.Future()

    async with asyncio.timeout(5):
        with pytest.raises(BodyTooSlowError):
            await read_json(SCOPE, receive, 100)


async def test_a_timeout_of_the_caller_of_this_is_not_taken_for_one_of_the_body() -> None:
    async def receive() -> Message:
        return await asyncio.Future()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await read_json(SCOPE, receive, 100)


async def test_a_message_may_leave_out_what_the_standard_lets_it() -> None:
    async def receive() -> Message:
        return {"type": "http.request"}

    assert await read_json(SCOPE, receive, 100) == b""


def test_of_a_header_that_stands_twice_the_first_counts() -> None:
    scope = {"headers": [(b"a", b"1"), (b"b", b"2"), (b"b", b"3")]}
    assert (header(scope, b"b"), header(scope, b"c")) == (b"2", b"")
