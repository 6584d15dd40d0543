"""Who hangs up stops costing anything."""

import asyncio

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from service.api.disconnect import WhileConnected


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


def connected(caller: Caller) -> WhileConnected:
    return WhileConnected(caller.receive, patience_s=0)


async def test_the_block_is_cancelled_when_the_caller_hangs_up() -> None:
    caller = Caller()
    steps: list[str] = []

    async def handle() -> None:
        async with connected(caller):
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
    async with connected(Caller()):
        await asyncio.sleep(0.01)
    for error in (KeyError, TimeoutError):
        with pytest.raises(error):
            async with connected(Caller()):
                raise error
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}  # nobody watches any more


async def test_a_caller_who_leaves_just_as_the_block_ends_leaves_no_cancellation_behind() -> None:
    caller = Caller()
    async with connected(caller):
        await asyncio.sleep(0.01)
        caller.has_left.set()  # the watcher would run next, but the block is over
    await asyncio.sleep(0.01)
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


async def test_a_cancellation_from_elsewhere_stays_one() -> None:
    async def handle() -> None:
        async with connected(Caller()):
            await asyncio.Event().wait()

    handling = asyncio.create_task(handle())
    await asyncio.sleep(0.01)
    handling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await handling


async def test_nobody_watches_a_block_that_is_over_in_time() -> None:
    caller = Caller()
    caller.has_left.set()
    async with WhileConnected(caller.receive, patience_s=10):
        await asyncio.sleep(0.01)
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_caller_who_left_before_anybody_watched_is_noticed_then() -> None:
    caller = Caller()
    caller.has_left.set()
    with pytest.raises(ClientDisconnect):
        async with WhileConnected(caller.receive, patience_s=0.01):
            await asyncio.Event().wait()


async def test_a_block_needs_a_task_that_can_be_cancelled() -> None:
    refused = asyncio.get_running_loop().create_future()

    def outside_of_any_task() -> None:
        try:
            WhileConnected(Caller().receive).__aenter__().send(None)
        except RuntimeError as error:
            refused.set_result(str(error))

    asyncio.get_running_loop().call_soon(outside_of_any_task)
    assert "no task" in await refused


async def test_nobody_begins_to_watch_when_the_block_is_over() -> None:
    caller = Caller()
    async with WhileConnected(caller.receive, patience_s=0.01):
        await asyncio.sleep(0)
    await asyncio.sleep(0.02)
    assert asyncio.all_tasks() == {asyncio.current_task()}
