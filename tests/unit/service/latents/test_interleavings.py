"""Writers in several processes, step by step in any order: every event counts, and counts once."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.latents.kept_history import Event, KeptHistory
from service.latents.redis_store import RedisStore
from service.latents.store import UserRecord

pytestmark = pytest.mark.redis

DIGEST = "a1" * 32
NUM_WRITERS = 2


class Server(Protocol):
    url: str


@final
class Turns:
    """Lets one writer at a time take one step towards Redis, in the order of a script."""

    def __init__(self, script: list[int]) -> None:
        self._script = iter(script)
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._moved = asyncio.Event()

    async def wait(self, writer: int) -> None:
        self._waiting[writer] = asyncio.get_running_loop().create_future()
        self._moved.set()
        await self._waiting[writer]

    async def run(self, writers: list[asyncio.Task[None]]) -> None:
        for writer in writers:
            writer.add_done_callback(lambda _: self._moved.set())
        while not all(writer.done() for writer in writers):
            running = sum(not writer.done() for writer in writers)
            if len(self._waiting) < running:
                self._moved.clear()
                await self._moved.wait()
                continue
            ready = sorted(self._waiting)
            self._waiting.pop(ready[next(self._script, 0) % len(ready)]).set_result(None)


@final
class StepByStep:
    """A client of Redis that waits for its turn before each command."""

    def __init__(self, client: Any, wait: Callable[[], Awaitable[None]]) -> None:  # noqa: ANN401 - any of the clients
        self._client = client
        self._wait = wait

    def __getattr__(self, name: str) -> Callable[..., Awaitable[object]]:
        async def command(*arguments: object) -> object:
            if name != "aclose":
                await self._wait()
            return await getattr(self._client, name)(*arguments)

        return command


def derived(user_id: str, history: KeptHistory) -> UserRecord:
    """Give what a model would make of a history; the latent is the number of its entries."""
    latent_D = np.array([len(history)], np.float32)
    nothing_N = np.array([], dtype=np.int64)
    return UserRecord(user_id, DIGEST, latent_D, nothing_N, nothing_N, history, is_derived=True)


async def play(url: str, user_id: str, sent: list[list[str]], script: list[int]) -> list[str]:
    """Let each writer send its events, an event a call, and derive a record after each."""
    stores = [RedisStore(url, timeout_s=20, ttl_s=60) for _ in sent]
    turns = Turns(script)
    for number, store in enumerate(stores):
        store._client = StepByStep(store._client, lambda number=number: turns.wait(number))  # type: ignore[assignment, misc]  # it stands in for it

    async def write(number: int) -> None:
        for name in sent[number]:
            history = await stores[number].append(user_id, [Event(name, event_id=name)], 100)
            await stores[number].put(derived(user_id, history))

    await turns.run([asyncio.create_task(write(number)) for number in range(len(sent))])
    reader = RedisStore(url, timeout_s=20, ttl_s=60)
    history = await reader.history(user_id)
    record = await reader.get(user_id, DIGEST)
    assert record is None or record.latent_D.tolist() == [len(history)]
    for store in (*stores, reader):
        await store.close()
    return list(history.entries.item_ids)


names = st.lists(st.sampled_from("abcdef"), max_size=4)


@settings(max_examples=60)
@given(
    sent=st.lists(names, min_size=NUM_WRITERS, max_size=NUM_WRITERS),
    script=st.lists(st.integers(0, NUM_WRITERS - 1), max_size=60),
)
def test_whatever_the_order_of_their_steps_no_event_is_lost_and_none_counts_twice(
    redis_server: Server, sent: list[list[str]], script: list[int]
) -> None:
    # A user of the example's own: tests share a Redis.
    user_id = hashlib.sha256(repr((sent, script)).encode()).hexdigest()

    async def forget_and_play() -> list[str]:
        store = RedisStore(redis_server.url, timeout_s=20, ttl_s=60)
        await store.forget(user_id)
        await store.close()
        return await play(redis_server.url, user_id, sent, script)

    kept = asyncio.run(forget_and_play())
    assert sorted(kept) == sorted({name for of_writer in sent for name in of_writer})
