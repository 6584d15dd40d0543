"""No answer ever reaches the wrong user: late, cut and swapped values never become one."""

import asyncio
import contextlib
import hashlib
import random
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

import httpx
import numpy as np
import pytest
import redis
import uvicorn
from redis.asyncio import Redis

from service.app import create_app
from service.latents import codec, redis_clients
from service.latents.redis_store import RedisStore
from service.latents.store import UserRecord
from service.settings import Settings

pytestmark = pytest.mark.redis

Running = Callable[..., Any]
# Fixtures that give Settings, a RedisProcess or a Proxy.
Start = Callable[..., Any]
NUM_USERS: Final = 20
AT_ONCE: Final = 32


def history_of(user: int) -> list[str]:
    return [f"i{(user + step) % 40}" for step in (0, 3, 7 + user % 5)]


@asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """Run the service behind a real socket: a caller who leaves closes a connection."""
    app = create_app(settings)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_config=None, access_log=False)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server._serve([listener]))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        limits = httpx.Limits(max_connections=2 * AT_ONCE, max_keepalive_connections=AT_ONCE)
        async with httpx.AsyncClient(base_url=url, timeout=30, limits=limits) as client:
            for _ in range(2000):
                with contextlib.suppress(httpx.TransportError):
                    if (await client.get("/readyz")).status_code == httpx.codes.OK:
                        break
                await asyncio.sleep(0.005)
            yield client
        server.should_exit = True
        await serving


async def list_of(client: httpx.AsyncClient, user: int, *, as_user: bool) -> list[str]:
    body: dict[str, Any] = {"history": history_of(user), "k": 10}
    if as_user:
        body["user_id"] = f"user-{user}"
    answer = await client.post("/recommend", json=body)
    assert answer.json()["source"] == "model"
    return [item["item_id"] for item in answer.json()["items"]]


@pytest.fixture
def wide_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let as many connections be cut at once as there are callers."""
    monkeypatch.setattr(redis_clients, "MAX_CONNECTIONS", AT_ONCE)


@dataclass
class Crowd:
    """Asks at random, lets three in ten leave at a random moment, compares what arrives."""

    client: httpx.AsyncClient
    expected: list[list[str]]
    chance: random.Random
    outcomes: Counter[str] = field(default_factory=Counter)

    async def ask(self, count: int) -> None:
        for _ in range(count):
            user = self.chance.randrange(NUM_USERS)
            path = f"/users/user-{user}/recommendations?k=10"
            asking = asyncio.create_task(self.client.get(path))
            if self.chance.random() < 0.3:
                await asyncio.sleep(self.chance.uniform(0, 0.12))
                asking.cancel()
            try:
                answer = (await asking).json()
            except asyncio.CancelledError:
                self.outcomes["left"] += 1
                continue
            self.outcomes[answer["cache"]] += 1
            if answer["source"] == "model":
                assert [item["item_id"] for item in answer["items"]] == self.expected[user]


async def crowd(num_requests: int, settings: Start, redis_process: Start, proxy: Start) -> None:
    chance = random.Random(5)
    slowest_s = [0.0]
    server = redis_process()
    async with (
        proxy(server.port, lambda: chance.uniform(slowest_s[0] / 5, slowest_s[0])) as slow,
        served(settings(redis_url=slow.url, redis_timeout_ms=3000)) as client,
    ):
        expected = [await list_of(client, user, as_user=False) for user in range(NUM_USERS)]
        assert len({tuple(items) for items in expected}) == NUM_USERS
        for user in range(NUM_USERS):
            await list_of(client, user, as_user=True)
        with redis.Redis(port=server.port) as admin:
            await keys_of(admin, NUM_USERS)
        slowest_s[0] = 0.1
        callers = Crowd(client, expected, chance)
        await asyncio.gather(*(callers.ask(num_requests // AT_ONCE) for _ in range(AT_ONCE)))
        print(dict(callers.outcomes))  # noqa: T201 - to be quoted
        assert callers.outcomes["hit"] > 0.6 * num_requests
        assert callers.outcomes["left"] > 0.1 * num_requests


@pytest.mark.usefixtures("wide_pool")
async def test_hundreds_through_a_slow_proxy_get_what_is_theirs(
    settings: Start, redis_process: Start, proxy_before: Start
) -> None:
    await crowd(192, settings, redis_process, proxy_before)


@pytest.mark.slow
@pytest.mark.usefixtures("wide_pool")
async def test_twenty_thousand_through_a_slow_proxy_get_what_is_theirs(
    settings: Start, redis_process: Start, proxy_before: Start
) -> None:
    await crowd(20_000, settings, redis_process, proxy_before)


async def test_a_connection_is_not_used_again_after_a_read_that_was_cut(
    redis_process: Start, proxy_before: Start
) -> None:
    delay_s = [0.0]
    server = redis_process()
    async with proxy_before(server.port, lambda: delay_s[0]) as proxy:
        store = RedisStore(proxy.url, timeout_s=5, ttl_s=60)
        digest = "a1" * 32
        for user_id in "anna", "bert":
            await store.put(a_record(user_id, digest))
        delay_s[0] = 0.1
        cut = asyncio.create_task(store.get("anna", digest))
        await asyncio.sleep(0.05)  # asked, and the answer is on its way
        cut.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cut
        assert isinstance(store._client, Redis)
        pool = store._client.connection_pool
        assert [connection.is_connected for connection in pool._available_connections] == [False]
        found = await store.get("bert", digest)
        assert found is not None
        assert found.user_id == "bert"
        await store.close()


def a_record(user_id: str, digest: str) -> UserRecord:
    latent_D = np.ones(4, dtype=np.float32)
    return UserRecord(user_id, digest, latent_D, np.array([1]), np.array([2]))


def with_checksum(content: bytes) -> bytes:
    return content + hashlib.blake2b(content, digest_size=codec.CHECKSUM_BYTES).digest()


async def refusals(client: httpx.AsyncClient) -> dict[str, float]:
    text = (await client.get("/metrics")).text
    lines = [line for line in text.splitlines() if line.startswith("foldin_records_refused_total{")]
    return {line.split('"')[1]: float(line.split()[-1]) for line in lines}


async def test_a_value_that_is_not_the_users_own_is_refused_and_counted(
    running: Running, redis_process: Start
) -> None:
    server = redis_process()
    async with running(redis_url=server.url, redis_timeout_ms=5000) as client:
        own = {user: await list_of(client, user, as_user=True) for user in range(7)}
        with redis.Redis(port=server.port) as admin:
            keys = await keys_of(admin, 7)
            kept = [admin.hgetall(key) for key in keys]
            (field,) = kept[0].keys() - {b"h"}
            anna, bert, carl, dora, emil, fred, _ = (of_user[field] for of_user in kept)
            carl_decoded = codec.decode(carl, "user-2", carl[5:37].hex())
            planted = {
                # Swapped.
                keys[0]: bert,
                keys[1]: anna,
                # Another model's, whole and sound.
                keys[2]: codec.encode(replace(carl_decoded, model_digest="ab" * 32)),
                # Another format's.
                keys[3]: with_checksum(dora[:4] + b"\x02" + dora[5:-16]),
                # A bit flipped.
                keys[4]: emil[:-20] + bytes([emil[-20] ^ 1]) + emil[-19:],
                # Another history under the fingerprint of this one.
                keys[5]: with_checksum(fred[:-20] + bytes([fred[-20] ^ 1]) + fred[-19:-16]),
            }
            for key, value in planted.items():
                admin.hset(key, field, value)
        for user in range(6):
            answer = (await client.get(f"/users/user-{user}/recommendations?k=10")).json()
            assert (answer["cache"], answer["source"]) == ("error", "popularity")
        # It is dropped: for the next one who asks, the history is encoded anew.
        answer = (await client.get("/users/user-0/recommendations?k=10")).json()
        assert (answer["cache"], answer["source"]) == ("miss", "model")
        assert [item["item_id"] for item in answer["items"]] == own[0]
        answer = (await client.get("/users/user-6/recommendations?k=10")).json()
        assert [item["item_id"] for item in answer["items"]] == own[6]
        expected = {"user": 2, "model": 1, "format": 1, "damaged": 1, "history": 1}
        assert await refusals(client) == expected
        assert 'foldin_cache_total{outcome="error"} 6.0' in (await client.get("/metrics")).text


async def keys_of(admin: redis.Redis, num_users: int) -> list[bytes]:
    """Give the users' keys in order, when all of them are written."""
    endings = [hashlib.sha256(f"user-{n}".encode()).hexdigest().encode() for n in range(num_users)]
    while True:
        found = {key.rpartition(b":")[2]: key for key in admin.scan_iter(count=1000)}
        if found.keys() >= set(endings):
            return [found[ending] for ending in endings]
        await asyncio.sleep(0.01)
