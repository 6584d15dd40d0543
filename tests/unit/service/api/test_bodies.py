"""A body is read to its end, or to the point where it is none."""

from collections.abc import Iterator

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message, Scope

from service.api.bodies import header, read_json

SCOPE: Scope = {"type": "http", "headers": [(b"content-type", b"application/json")]}


async def test_a_caller_who_leaves_within_the_body_is_not_answered() -> None:
    messages: Iterator[Message] = iter(
        [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
    )

    async def receive() -> Message:
        return next(messages)

    with pytest.raises(ClientDisconnect):
        await read_json(SCOPE, receive, 100)


async def test_a_message_may_leave_out_what_the_standard_lets_it() -> None:
    async def receive() -> Message:
        return {"type": "http.request"}

    assert await read_json(SCOPE, receive, 100) == b""


def test_of_a_header_that_stands_twice_the_first_counts() -> None:
    scope = {"headers": [(b"a", b"1"), (b"b", b"2"), (b"b", b"3")]}
    assert (header(scope, b"b"), header(scope, b"c")) == (b"2", b"")
