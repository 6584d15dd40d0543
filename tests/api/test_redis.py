"""The service with Redis behind it: shared latents, and nothing lost when Redis is."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import pytest

Running = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]
StartRedis = Callable[..., Any]

pytestmark = pytest.mark.redis


async def cache_of(client: httpx.AsyncClient, user_id: str) -> str:
    answer = await client.get(f"/users/{user_id}/recommendations")
    assert answer.status_code == 200, answer.text
    return str(answer.json()["cache"])


async def test_what_one_app_keeps_another_finds(
    running: Running, redis_process: StartRedis
) -> None:
    url = redis_process().url
    async with running(redis_url=url, redis_timeout_ms=5000) as first:
        await first.post("/recommend", json={"history": ["i1"], "user_id": "u"})
        assert await cache_of(first, "u") == "hit"
    async with running(redis_url=url, redis_timeout_ms=5000) as second:
        assert await cache_of(second, "u") == "hit"
        assert await cache_of(second, "v") == "miss"
        metrics = (await second.get("/metrics")).text
        assert 'foldin_cache_total{outcome="hit"} 1.0' in metrics


async def test_the_service_starts_and_answers_without_its_redis(
    running: Running, redis_process: StartRedis
) -> None:
    redis = redis_process()
    redis.kill()
    async with running(redis_url=redis.url) as client:
        posted = await client.post("/recommend", json={"history": ["i1"], "user_id": "u"})
        assert posted.json()["source"] == "model"
        assert await cache_of(client, "nobody") == "error"
        redis.start()
        for _ in range(100):
            await client.post("/recommend", json={"history": ["i1"], "user_id": "w"})
            if await cache_of(client, "other") == "miss":
                break
            await asyncio.sleep(0.05)
        assert await cache_of(client, "w") == "hit"
