"""Who hangs up stops costing anything."""

import asyncio

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from service.api.disconnect import while_connected


class Caller:
    """A connection that the test hangs up."""

    def __init__(self) -> None:
        self.has_left = asyncio.Event()
        self._body_is_due = True

    async def receive(self) -> Message:
        if self._body_is_due:
            self._body_is_due = False
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.has_left.wait()
        return {"type": "http.disconnect"}

    @property
    def request(self) -> Request:
        return Request({"type": "http", "headers": []}, self.receive)


async def test_the_block_is_cancelled_when_the_caller_hangs_up() -> None:
    caller = Caller()
    steps: list[str] = []

    async def handle() -> None:
        async with while_connected(caller.request):
            steps.append("began")
            try:
                await asyncio.Event().wait()
            finally:
                steps.append("cancelled")

    handling = asyncio.create_task(handle())
    await asyncio.sleep(0.01)
    caller.has_left.set()
    with pytest.raises(ClientDisconnect):
        await handling
    assert steps == ["began", "cancelled"]


async def test_the_block_ends_as_it_would_while_the_caller_waits() -> None:
    async with while_connected(Caller().request):
        await asyncio.sleep(0.01)
    for error in (KeyError, TimeoutError):
        with pytest.raises(error):
            async with while_connected(Caller().request):
                raise error
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}  # nobody watches any more


async def test_a_caller_who_leaves_just_as_the_block_ends_leaves_no_cancellation_behind() -> None:
    caller = Caller()
    async with while_connected(caller.request):
        await asyncio.sleep(0.01)
        caller.has_left.set()  # the watcher would run next, but the block is over
    await asyncio.sleep(0.01)
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


async def test_a_cancellation_from_elsewhere_stays_one() -> None:
    async def handle() -> None:
        async with while_connected(Caller().request):
            await asyncio.Event().wait()

    handling = asyncio.create_task(handle())
    await asyncio.sleep(0.01)
    handling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await handling
