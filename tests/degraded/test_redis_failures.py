"""Redis slow, gone, full, forbidding or lying: prompt errors with a name, and nothing else."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Final, Protocol

import numpy as np
import pytest
import redis

from service.errors import LatentStoreError
from service.latents.kept_history import NO_HISTORY, Event, KeptHistory
from service.latents.redis_clients import MAX_CONNECTIONS
from service.latents.redis_store import RedisStore
from service.latents.store import UserRecord
from service.latents.write_behind import WriteBehind
from service.latents.write_order import wall_clock_us
from service.recommendation import PostedHistory

DIGEST: Final = "a1" * 32
TIMEOUT_S: Final = 0.2
SLACK_S: Final = 0.05
PASSWORD: Final = "correct-horse"  # noqa: S105 - of a server that lives as long as its test
WRONG_PASSWORD: Final = "battery-staple"  # noqa: S105 - as above

pytestmark = pytest.mark.redis

Operation = Callable[[RedisStore], Awaitable[object]]


class Server(Protocol):
    url: str
    port: int

    def start(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def kill(self) -> None: ...


StartServer = Callable[..., Server]


def make_record(user_id: str = "anna") -> UserRecord:
    latent_D = np.ones(4, dtype=np.float32)
    history = KeptHistory(PostedHistory(("i1", "i2")), posted_at_us=wall_clock_us())
    return UserRecord(user_id, DIGEST, latent_D, np.array([1, 2]), np.array([3]), history)


OPERATIONS: Final[dict[str, Operation]] = {
    "get": lambda store: store.get("anna", DIGEST),
    "put": lambda store: store.put(make_record()),
    "history": lambda store: store.history("anna"),
    "append": lambda store: store.append("anna", [Event("i1")], 10),
    "forget": lambda store: store.forget("anna"),
    "ping": lambda store: store.ping(),
}
each_operation = pytest.mark.parametrize("name", OPERATIONS)


@asynccontextmanager
async def opened(url: str, timeout_s: float = TIMEOUT_S) -> AsyncIterator[RedisStore]:
    store = RedisStore(url, timeout_s, ttl_s=60)
    try:
        yield store
    finally:
        await store.close()


async def fails(name: str, store: RedisStore) -> tuple[float, str]:
    """Run an operation that must fail, three times; give the least seconds and the message.

    The least: the test may share its processor, and a pause of the machine is no fault.
    """
    failures: list[tuple[float, str]] = []
    for _ in range(3):
        began_at = time.monotonic()
        with pytest.raises(LatentStoreError) as caught:
            await OPERATIONS[name](store)
        failures.append((time.monotonic() - began_at, str(caught.value)))
    return min(failures)


async def recovers(store: RedisStore) -> bool:
    """Try for a second: a connection may still have to learn that its server has gone."""
    give_up_at = time.monotonic() + 1
    while time.monotonic() < give_up_at:
        with suppress(LatentStoreError):
            await store.put(make_record())
            return await store.get("anna", DIGEST) is not None
        await asyncio.sleep(0.01)
    return False


@each_operation
async def test_a_server_that_hangs_costs_no_more_than_the_timeout(
    redis_process: StartServer, name: str
) -> None:
    server = redis_process()
    async with opened(server.url) as store:
        await store.put(make_record())
        server.pause()
        took_s, message = await fails(name, store)
        assert TIMEOUT_S - SLACK_S < took_s < TIMEOUT_S + SLACK_S
        assert "Timeout" in message
        server.resume()
        assert await recovers(store)


async def test_a_crowd_before_a_server_that_hangs_waits_no_longer_than_one(
    redis_process: StartServer,
) -> None:
    server = redis_process()
    async with opened(server.url) as store:
        server.pause()
        took_s: list[float] = []
        for _ in range(4):
            began_at = time.monotonic()
            gets = [store.get(f"user-{i}", DIGEST) for i in range(10 * MAX_CONNECTIONS)]
            outcomes = await asyncio.gather(*gets, return_exceptions=True)
            took_s.append(time.monotonic() - began_at)
            assert {type(outcome) for outcome in outcomes} == {LatentStoreError}
        assert min(took_s) < TIMEOUT_S + 2 * SLACK_S
        server.resume()
        assert await recovers(store)


@each_operation
async def test_a_killed_server_is_noticed_at_once_and_found_again(
    redis_process: StartServer, name: str
) -> None:
    server = redis_process()
    async with opened(server.url) as store:
        await store.put(make_record())
        server.kill()
        took_s, _ = await fails(name, store)
        assert took_s < SLACK_S
        server.start()
        assert await store.get("anna", DIGEST) is None
        assert await recovers(store)


async def test_a_server_that_comes_later_is_found(redis_process: StartServer) -> None:
    server = redis_process()
    server.kill()
    async with opened(server.url) as store:
        for name in OPERATIONS:
            await fails(name, store)
        server.start()
        assert await recovers(store)


@each_operation
async def test_a_wrong_password_is_an_error_that_tells_no_password(
    redis_process: StartServer, name: str
) -> None:
    server = redis_process("--requirepass", PASSWORD)
    async with opened(server.url.replace("//", f"//:{PASSWORD}@")) as store:
        assert await recovers(store)
    for url in server.url, server.url.replace("//", f"//:{WRONG_PASSWORD}@"):
        async with opened(url) as store:
            _, message = await fails(name, store)
            assert WRONG_PASSWORD not in message
            assert str(server.port) not in message


async def test_a_full_server_refuses_writes_and_answers_reads(redis_process: StartServer) -> None:
    server = redis_process("--maxmemory", "1", "--maxmemory-policy", "noeviction")
    async with opened(server.url) as store:
        await fails("put", store)
        await fails("append", store)
        assert await store.get("anna", DIGEST) is None


async def test_a_server_that_became_full_keeps_what_it_has_and_can_still_forget(
    redis_process: StartServer,
) -> None:
    server = redis_process("--maxmemory-policy", "noeviction")
    async with opened(server.url) as store:
        before = await store.append("anna", [Event("i1", event_id="a")], 10)
        await store.put(replace(make_record(), history=before, is_derived=True))
        with redis.Redis.from_url(server.url) as client:
            client.config_set("maxmemory", 1)
        for name in "put", "append":
            await fails(name, store)
        assert await store.history("anna") == before
        assert await store.get("anna", DIGEST) is not None
        for user_id in "anna", "anna", "nobody":
            await store.forget(user_id)
        assert not len(await store.history("anna"))
        assert await store.get("anna", DIGEST) is None
        with redis.Redis.from_url(server.url) as client:
            client.config_set("maxmemory", 0)
            assert client.dbsize() == 2  # known to be forgotten, all the same


async def test_a_key_of_another_kind_is_an_error(redis_process: StartServer) -> None:
    server = redis_process()
    async with opened(server.url) as store:
        await store.put(make_record())
        with redis.Redis.from_url(server.url) as client:
            for key in client.scan_iter():
                client.delete(key)
                client.lpush(key, "no string")
        await fails("get", store)
        assert await recovers(store)


@asynccontextmanager
async def lying_server(answer: bytes, *, hang_up: bool) -> AsyncIterator[str]:
    """Greet as Redis does, then give the same bytes to every request; give the URL."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while request := await reader.read(65536):
                greetings = request.count(b"SETINFO")
                writer.write(b"+OK\r\n" * greetings or answer)
                await writer.drain()
                if hang_up and not greetings:
                    break
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    finally:
        server.close()
        await asyncio.sleep(0.01)  # the talks see that their callers have left


@pytest.mark.parametrize("hang_up", [False, True], ids=["it stays", "it hangs up"])
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\r\n",
        b"\0" * 100,
        b"+OK\r\n",
        b":7\r\n",
        b":seven\r\n",
        b"$seven\r\n",
        b"$-7\r\n",
        b"$5\r\nhello\r\n",
        b"$999999999999\r\nhello\r\n",
        b"*1\r\n" * 3000,
        b"*3\r\n+a\r\n",
        b"*-7\r\n",
        b"-LOADING the dataset\r\n",
        b"-NOAUTH who are you\r\n",
        b"-\xff\xfe\r\n",
        b"x" * 100_000,
    ],
    ids=lambda answer: answer[:12].decode(errors="replace").encode("unicode_escape").decode(),
)
async def test_a_server_that_answers_nonsense_gives_no_record_and_no_other_error(
    answer: bytes, *, hang_up: bool
) -> None:
    async with lying_server(answer, hang_up=hang_up) as url, opened(url, timeout_s=0.05) as store:
        for _ in range(2):
            for operation in OPERATIONS.values():
                with suppress(LatentStoreError):
                    found = await operation(store)
                    assert not isinstance(found, UserRecord)
                    assert found in (None, True, False, NO_HISTORY)


@pytest.mark.parametrize("scheme", ["redis+sentinel", "redis+cluster"])
@pytest.mark.parametrize(
    "answer",
    [
        b"+OK\r\n",
        b"*3\r\n+a\r\n",
        b"*1\r\n" * 3000,
        b"*2\r\n:1\r\n:2\r\n",
        b"*1\r\n*4\r\n+name\r\n+films\r\n+port\r\n+x\r\n",
        b"*1\r\n*3\r\n:1\r\n:5\r\n+x\r\n",
        # Slots without end, which the client would count through.
        b"*1\r\n*3\r\n:0\r\n:999999999\r\n*2\r\n$1\r\nh\r\n:9\r\n",
        b"$-1\r\n",
    ],
    ids=lambda answer: answer[:12].decode().encode("unicode_escape").decode(),
)
async def test_sentinels_and_clusters_that_answer_nonsense_are_errors(
    answer: bytes, scheme: str
) -> None:
    async with lying_server(answer, hang_up=False) as plain_url:
        url = plain_url.replace("redis", scheme).replace("/0", "/films" * ("sentinel" in scheme))
        async with opened(url, timeout_s=0.05) as store:
            for operation in OPERATIONS.values():
                with pytest.raises(LatentStoreError):
                    await operation(store)


async def test_a_server_that_only_hangs_up_is_an_error() -> None:
    async with lying_server(b"", hang_up=True) as url, opened(url) as store:
        for name in OPERATIONS:
            await fails(name, store)


async def test_cancelled_operations_use_up_no_connection(redis_process: StartServer) -> None:
    server = redis_process()
    async with opened(server.url) as store:
        await store.put(make_record())
        for turns in range(10 * MAX_CONNECTIONS):
            task = asyncio.create_task(store.get("anna", DIGEST))
            for _ in range(turns % 20):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait({task})
        crowd = [store.get("anna", DIGEST) for _ in range(MAX_CONNECTIONS)]
        assert all(await asyncio.gather(*crowd))


async def test_closing_a_store_whose_server_hangs_or_has_gone_ends_in_time(
    redis_process: StartServer,
) -> None:
    for harm in "pause", "kill":
        server = redis_process()
        async with opened(server.url) as store:
            await store.put(make_record())
            getattr(server, harm)()
            began_at = time.monotonic()
        assert time.monotonic() - began_at < TIMEOUT_S + SLACK_S


async def test_posted_histories_never_wait_for_a_server_that_hangs(
    redis_process: StartServer,
) -> None:
    outcomes: list[str] = []
    server = redis_process()
    store = WriteBehind(RedisStore(server.url, TIMEOUT_S, ttl_s=60), 50, outcomes.append)
    server.pause()
    began_at = time.monotonic()
    for i in range(100):
        await store.put(make_record(f"user-{i}"))
        assert await store.get(f"user-{i}", DIGEST) is not None
    assert time.monotonic() - began_at < TIMEOUT_S
    assert outcomes.count("lost") == 50
    server.resume()
    await store.close()
    assert outcomes.count("written") >= 49  # the first write may have timed out
    assert len(outcomes) == 100
