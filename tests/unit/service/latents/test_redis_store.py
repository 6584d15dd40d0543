import asyncio
import gc
from collections.abc import Callable
from typing import Protocol

import numpy as np
import pytest
import redis
from redis.asyncio import Redis

from service.errors import SettingsError
from service.latents import codec, history_codec
from service.latents.kept_history import Event, KeptHistory, nothing_since
from service.latents.redis_store import RedisStore
from service.latents.store import UserRecord
from service.latents.write_order import LATEST_S, MARK_TTL_S, wall_clock_us
from service.recommendation import PostedHistory

DIGEST = "a1" * 32
PASSWORD = "hush"  # noqa: S105 - of no server


class Server(Protocol):
    url: str


def make_record(user_id: str) -> UserRecord:
    latent_D = np.ones(4, dtype=np.float32)
    history = KeptHistory(PostedHistory(("i1", "i2")), posted_at_us=wall_clock_us())
    return UserRecord(user_id, DIGEST, latent_D, np.array([1, 2]), np.array([3]), history)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost",
        f"http://:{PASSWORD}@localhost",
        f"redis://:{PASSWORD}/more@localhost:6379",
        f"redis://:{PASSWORD}@localhost:99999",
        f"redis://:{PASSWORD}@localhost?no_such_option=1",
        f"redis://:{PASSWORD}@localhost?socket_timeout=soon",
    ],
)
def test_a_bad_url_is_refused_at_once_and_not_repeated(url: str) -> None:
    with pytest.raises(SettingsError, match="the Redis URL cannot be used") as caught:
        RedisStore(url, timeout_s=1, ttl_s=60)
    assert PASSWORD not in str(caught.value)
    assert caught.value.__context__ is None  # the cause would quote the URL


@pytest.mark.parametrize(
    "url",
    ["redis://nowhere.invalid", "rediss://user:word@nowhere.invalid:1/3", "unix:///no/socket"],
)
def test_making_a_store_connects_to_nothing(url: str) -> None:
    assert RedisStore(url, timeout_s=1, ttl_s=60).name == "redis"
    gc.collect()


def test_the_client_neither_tries_again_nor_sends_through_a_limit_that_eats_cancellations() -> None:
    # The race that the second one is about shows in one of some thousand operations only.
    client = RedisStore("redis://nowhere.invalid", timeout_s=1, ttl_s=60)._client
    assert isinstance(client, Redis)
    settings = client.connection_pool.connection_kwargs
    assert settings["socket_timeout"] is None
    assert settings["retry"].get_retries() == 0


@pytest.mark.redis
@pytest.mark.parametrize(
    ("chance", "ttl_ms"), [(lambda: 0.0, 60_000), (lambda: 0.5, 57_000), (lambda: 0.999, 54_006)]
)
async def test_a_record_lives_for_its_time_less_up_to_a_tenth(
    redis_server: Server, chance: Callable[[], float], ttl_ms: int
) -> None:
    store = RedisStore(redis_server.url, timeout_s=5, ttl_s=60, chance=chance)
    with redis.Redis.from_url(redis_server.url) as client:
        await store.put(make_record("ttl"))
        left_ms = client.pttl(codec.key("ttl"))
        assert isinstance(left_ms, int)
        assert ttl_ms - 5000 < left_ms <= ttl_ms
    await store.close()


@pytest.mark.redis
async def test_a_time_to_live_below_a_millisecond_is_one(redis_server: Server) -> None:
    store = RedisStore(redis_server.url, timeout_s=5, ttl_s=1e-9)
    await store.put(make_record("brief"))
    await asyncio.sleep(0.01)
    assert await store.get("brief", DIGEST) is None
    await store.close()


@pytest.mark.redis
async def test_no_customer_id_stands_in_redis(redis_server: Server) -> None:
    user_id = "anna@example.org"
    store = RedisStore(redis_server.url, timeout_s=5, ttl_s=60)
    with redis.Redis.from_url(redis_server.url) as client:
        await store.put(make_record(user_id))
        key = codec.key(user_id)
        kept = client.hgetall(key)
        assert isinstance(kept, dict)
        assert len(kept) == 2
        assert user_id not in key
        assert user_id.encode() not in b"".join(kept.values())
    await store.close()


@pytest.mark.redis
async def test_of_a_forgotten_user_nothing_is_left_but_when_that_was_and_not_for_long(
    redis_server: Server,
) -> None:
    store = RedisStore(redis_server.url, timeout_s=5, ttl_s=1e6, now_us=lambda: 1234)
    with redis.Redis.from_url(redis_server.url) as client:
        await store.put(make_record("gone"))
        await store.append("gone", [Event("i9", event_id="e")], 10)
        await store.forget("gone")
        key = codec.key("gone")
        left = history_codec.encode(nothing_since(1234), "gone")
        assert client.hgetall(key) == {b"h": left}
        assert b"i9" not in left
        left_ms = client.pttl(key)
        assert isinstance(left_ms, int)
        assert 1000 * LATEST_S < left_ms <= 1000 * MARK_TTL_S
    await store.close()
