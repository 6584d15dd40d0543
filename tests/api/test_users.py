"""Events add to what is kept of a user, every list goes by it, and a user can be forgotten."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pytest
import redis

from service.catalog import Catalog
from service.latents import codec, history_codec
from service.latents.kept_history import nothing_since
from service.latents.redis_store import RedisStore
from service.latents.store import UserRecord
from service.latents.write_order import MARK_TTL_S

Running = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]
StartRedis = Callable[..., Any]
NUM_ITEMS = 40
FILM_RATINGS = [
    {"item_id": "i1", "rating": 5.0, "event_id": "a"},
    {"item_id": "i2", "rating": 1.0, "event_id": "b"},
    {"item_id": "i3", "weight": 2.5, "event_id": "c"},
]


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
async def kept(
    request: pytest.FixtureRequest, running: Running
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a service that keeps users in itself or in a Redis of its own."""
    chosen: dict[str, Any] = {}
    if request.param == "redis":
        server = request.getfixturevalue("redis_process")()
        chosen = {"redis_url": server.url, "redis_timeout_ms": 5000}
    async with running(**chosen) as client:
        yield client


async def add(
    client: httpx.AsyncClient, user_id: str, *events: object, **fields: object
) -> dict[str, Any]:
    answer = await client.post(f"/users/{user_id}/interactions", json={"events": events, **fields})
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


async def list_of(client: httpx.AsyncClient, user_id: str) -> dict[str, Any]:
    answer = await client.get(f"/users/{user_id}/recommendations?k=10")
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


async def posted(client: httpx.AsyncClient, *history: object, **fields: object) -> dict[str, Any]:
    answer = await client.post("/recommend", json={"history": history, "k": 10, **fields})
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


def without_event_id(event: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name != "event_id"}


async def test_events_make_the_list_that_their_history_would_make(
    kept: httpx.AsyncClient,
) -> None:
    answer = await add(kept, "u", *FILM_RATINGS)
    assert answer == {
        "count": 3,
        "unknown_items": [],
        "cache": "hit",
        "model": {"name": "films", "version": answer["model"]["version"]},
    }
    found = await list_of(kept, "u")
    expected = await posted(kept, *map(without_event_id, FILM_RATINGS))
    assert (found["cache"], found["source"]) == ("hit", "model")
    assert found["items"] == expected["items"]
    assert found["model"] == answer["model"]
    assert not {"i1", "i2", "i3"} & {item["item_id"] for item in found["items"]}


async def test_events_one_by_one_and_at_once_are_the_same(kept: httpx.AsyncClient) -> None:
    for count, event in enumerate(FILM_RATINGS, 1):
        assert (await add(kept, "u", event))["count"] == count
    await add(kept, "v", *FILM_RATINGS)
    assert (await list_of(kept, "u"))["items"] == (await list_of(kept, "v"))["items"]


async def test_an_event_that_is_sent_again_counts_once(kept: httpx.AsyncClient) -> None:
    await add(kept, "u", *FILM_RATINGS)
    before = await list_of(kept, "u")
    assert (await add(kept, "u", *FILM_RATINGS[1:], FILM_RATINGS[1]))["count"] == 3
    assert (await list_of(kept, "u"))["items"] == before["items"]
    assert (await add(kept, "u", "i1", "i1"))["count"] == 5  # without an id each is one


async def test_events_add_to_a_posted_history_and_a_posted_history_takes_their_place(
    kept: httpx.AsyncClient,
) -> None:
    await posted(kept, "i1", "i2", user_id="u")
    assert (await add(kept, "u", "i3"))["count"] == 3
    whole = await posted(kept, "i1", "i2", "i3")
    assert (await list_of(kept, "u"))["items"] == whole["items"]
    await posted(kept, "i7", user_id="u")
    assert (await list_of(kept, "u"))["items"] == (await posted(kept, "i7"))["items"]
    assert (await add(kept, "u", "i8"))["count"] == 2


async def test_an_id_of_the_customer_is_one_user_in_every_form(kept: httpx.AsyncClient) -> None:
    await posted(kept, "i1", user_id=17)
    assert (await add(kept, "17", "i2"))["count"] == 2
    strange = quote("a/b interactions?#é", safe="")
    assert (await add(kept, strange, "i2"))["count"] == 1
    assert (await add(kept, strange, "i3"))["count"] == 2
    assert (await kept.delete(f"/users/{strange}")).status_code == 204
    assert (await add(kept, strange, "i3"))["count"] == 1


async def test_unknown_items_are_told_and_not_kept(kept: httpx.AsyncClient) -> None:
    answer = await add(kept, "u", "nope", "i1", {"item_id": "nada", "event_id": "x"}, "nope")
    assert (answer["count"], answer["unknown_items"]) == (1, ["nope", "nada"])
    refused = await kept.post(
        "/users/u/interactions", json={"events": ["i2", "nope"], "on_unknown": "error"}
    )
    assert refused.status_code == 422
    assert refused.json()["type"] == "/problems/unknown-items"
    assert (await add(kept, "u"))["count"] == 1


async def test_a_user_of_only_disliked_items_gets_popular_items_that_they_have_not_seen(
    kept: httpx.AsyncClient,
) -> None:
    await add(kept, "u", "i0")
    await kept.delete("/users/u")
    answer = await add(kept, "u", {"item_id": "i0", "rating": 1})
    assert (answer["count"], answer["cache"]) == (1, "miss")
    found = await list_of(kept, "u")
    assert (found["source"], found["reason"]) == ("popularity", "no_liked_items")
    assert found["items"][0]["item_id"] == "i1"


async def test_no_events_at_all_are_counted_as_what_is_there(kept: httpx.AsyncClient) -> None:
    assert (await add(kept, "nobody"))["count"] == 0
    assert (await list_of(kept, "nobody"))["reason"] == "unknown_user"
    await add(kept, "u", "i1")
    assert (await add(kept, "u"))["count"] == 1


async def test_of_too_many_events_the_newest_are_kept(running: Running) -> None:
    async with running(max_history=3) as client:
        for item_id in ("i1", "i2", "i3", "i4"):
            await add(client, "u", item_id)
        assert (await add(client, "u", "i5"))["count"] == 3
        whole = await posted(client, "i3", "i4", "i5")
        assert (await list_of(client, "u"))["items"] == whole["items"]
        refused = await client.post("/users/u/interactions", json={"events": ["i1"] * 4})
        assert refused.status_code == 422
        assert refused.json()["type"] == "/problems/history-too-long"
        assert refused.json()["pointer"] == "/events"


async def test_a_forgotten_user_is_a_stranger_and_forgetting_twice_is_no_error(
    kept: httpx.AsyncClient,
) -> None:
    await posted(kept, "i1", user_id="u")
    await add(kept, "u", "i2")
    for _ in range(2):
        answer = await kept.delete("/users/u")
        assert (answer.status_code, answer.content) == (204, b"")
    assert (await list_of(kept, "u"))["reason"] == "unknown_user"
    assert (await add(kept, "u", "i3"))["count"] == 1


async def test_a_line_break_after_an_id_does_not_mean_the_user_without_it(
    client: httpx.AsyncClient,
) -> None:
    await posted(client, "i1", user_id="u")
    for method, where in (
        ("DELETE", "/users/u%0A"),
        ("DELETE", "/users/%0Au"),
        ("POST", "/users/u%0A/interactions"),
        ("GET", "/users/%0Au%0A/recommendations"),
    ):
        answer = await client.request(method, where, json={"events": []})
        assert answer.status_code == 422, where
        assert answer.json()["pointer"] == "/user_id"
    assert (await list_of(client, "u"))["cache"] == "hit"


async def test_writers_at_once_lose_no_event(kept: httpx.AsyncClient) -> None:
    async def write(writer: int) -> None:
        for number in range(10):
            event = {"item_id": f"i{number}", "event_id": f"{writer}-{number}"}
            await add(kept, "u", event)

    await asyncio.gather(*map(write, range(6)))
    assert (await add(kept, "u"))["count"] == 60


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/events"),
        ({"events": "i1"}, "/events"),
        ({"events": ["i1"], "event": 1}, "/event"),
        ({"events": [None]}, "/events/0"),
        ({"events": ["i1", {"item_id": "i1", "weight": 0}]}, "/events/1/weight"),
        ({"events": [{"item_id": "i1", "event_id": ""}]}, "/events/0/event_id"),
        ({"events": [{"item_id": "i1", "event_id": "x" * 257}]}, "/events/0/event_id"),
        ({"events": [{"rating": 3}]}, "/events/0/item_id"),
        ({"events": ["i1"], "on_unknown": "?"}, "/on_unknown"),
    ],
)
async def test_a_wrong_field_is_named(
    client: httpx.AsyncClient, body: object, pointer: str
) -> None:
    answer = await client.post("/users/u/interactions", json=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["pointer"] == pointer


async def test_other_refusals_are_problems_too(client: httpx.AsyncClient) -> None:
    path = "/users/u/interactions"
    no_model = await client.post(path, json={"events": [], "model": "none"})
    assert (no_model.status_code, no_model.json()["pointer"]) == (404, "/model")
    broken = await client.post(path, content=b"{", headers={"content-type": "application/json"})
    assert broken.status_code == 400
    assert (await client.post(path, content=b"{}")).status_code == 415
    for method, where in (("post", "/users//interactions"), ("delete", "/users/" + "x" * 257)):
        answer = await client.request(method, where, json={"events": []})
        assert answer.status_code == 422, where
        assert answer.json()["pointer"] == "/user_id"


async def test_no_id_stands_in_logs_or_metrics(
    kept: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await add(kept, "anna-77", {"item_id": "nope-77", "event_id": "evt-77"}, "i1")
    await kept.delete("/users/anna-77")
    told = str([record.__dict__ for record in caplog.records if record.name[:5] != "httpx"])
    metrics = (await kept.get("/metrics")).text
    assert "-77" not in told + metrics
    assert 'foldin_events_total{outcome="taken"} 1.0' in metrics
    assert 'foldin_events_total{outcome="unknown"} 1.0' in metrics
    assert 'route="/users/{user_id}/interactions"' in metrics.replace(":path", "")


@pytest.fixture
def other_model_dir(write_bundle: Callable[..., Path], tmp_path: Path) -> Path:
    """A model directory of the next model, whose items have other indices and are more."""
    ids = tuple(f"i{index}" for index in reversed(range(NUM_ITEMS + 5)))
    empty = ("",) * len(ids)
    catalog = Catalog(ids, empty, ((),) * len(ids), np.arange(len(ids)))
    write_bundle(tmp_path / "next", catalog, name="films", positive_threshold=4.0, seed=1)
    return tmp_path / "next"


@pytest.fixture
def everything(redis_process: StartRedis) -> Iterator[tuple[str, redis.Redis]]:
    """The address of a Redis that is empty, and a client of it."""
    server = redis_process()
    with redis.Redis(port=server.port) as admin:
        yield server.url, admin


def is_forgotten(admin: redis.Redis, user_id: str) -> bool:
    """Tell whether nothing is left of a user but when they were forgotten, and not for long."""
    key = codec.key(user_id)
    kept = admin.hgetall(key)
    assert isinstance(kept, dict)
    value = kept.pop(b"h")
    assert isinstance(value, bytes)
    history = history_codec.decode(value, user_id)
    left_ms = admin.pttl(key)
    assert isinstance(left_ms, int)
    return (
        not kept
        and history == nothing_since(history.posted_at_us)
        and 0 < left_ms <= 1000 * MARK_TTL_S
    )


@pytest.mark.redis
async def test_nothing_of_a_forgotten_user_is_left_in_redis_whichever_models_saw_them(
    running: Running, everything: tuple[str, redis.Redis], other_model_dir: Path
) -> None:
    url, admin = everything
    chosen = {"redis_url": url, "redis_timeout_ms": 5000}
    async with running(**chosen) as first, running(**chosen, model_dir=other_model_dir) as second:
        await add(first, "u", "i1", "i2")
        assert (await list_of(second, "u"))["source"] == "model"
        await posted(second, "i5", user_id="v")
        for _ in range(500):
            if sorted(map(admin.hlen, admin.keys())) == [2, 3]:  # both models have written
                break
            await asyncio.sleep(0.01)
        else:
            pytest.fail("what is to be forgotten was never written")
        assert (await first.delete("/users/u")).status_code == 204
        assert is_forgotten(admin, "u")
        assert not is_forgotten(admin, "v")
        assert (await first.delete("/users/v")).status_code == 204
        assert is_forgotten(admin, "v")
        assert (await list_of(second, "u"))["reason"] == "unknown_user"


@pytest.mark.redis
async def test_a_write_that_waits_brings_no_forgotten_user_back(
    running: Running, everything: tuple[str, redis.Redis]
) -> None:
    url, admin = everything
    async with running(redis_url=url, redis_timeout_ms=5000) as client:
        for number in range(20):
            user_id = f"user-{number}"
            await posted(client, "i1", user_id=user_id)  # noted, and written behind the answer
            assert (await client.delete(f"/users/{user_id}")).status_code == 204
        await asyncio.sleep(0.1)
        assert all(is_forgotten(admin, f"user-{number}") for number in range(20))


@pytest.mark.redis
async def test_what_one_process_writes_late_undoes_nothing_that_another_has_answered(
    running: Running,
    everything: tuple[str, redis.Redis],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url, admin = everything
    chosen = {"redis_url": url, "redis_timeout_ms": 5000}
    put = RedisStore.put

    async def late(store: RedisStore, record: UserRecord) -> None:
        await asyncio.sleep(0 if record.is_derived else 0.2)
        await put(store, record)

    async with running(**chosen) as one, running(**chosen) as other:
        with monkeypatch.context() as patch:
            patch.setattr(RedisStore, "put", late)
            for user_id in "u", "v":
                await posted(one, "i1", "i2", user_id=user_id)
            assert (await other.delete("/users/u")).status_code == 204
            await add(other, "v", "i3")
            await asyncio.sleep(0.6)
        assert is_forgotten(admin, "u")
        assert (await list_of(one, "u"))["reason"] == "unknown_user"
        whole = await posted(one, "i1", "i2", "i3")
        assert (await list_of(one, "v"))["items"] == whole["items"]


@pytest.mark.redis
async def test_without_its_redis_events_are_refused_and_lists_are_not(
    running: Running, redis_process: StartRedis
) -> None:
    server = redis_process()
    async with running(redis_url=server.url, redis_timeout_ms=5000) as client:
        await add(client, "u", "i1")
        server.kill()
        refused = await client.post("/users/u/interactions", json={"events": ["i2"]})
        for _ in range(7):  # the breaker opens on the way
            refused = await client.post("/users/u/interactions", json={"events": ["i2"]})
            assert refused.status_code == 503
            assert refused.json()["type"] == "/problems/store-unavailable"
            assert refused.headers["retry-after"] == "1"
            assert (await client.delete("/users/u")).status_code == 503
            assert (await list_of(client, "u"))["cache"] == "error"
        assert (await posted(client, "i1", user_id="w"))["source"] == "model"
        assert (await list_of(client, "w"))["cache"] == "hit"
        assert 'foldin_events_total{outcome="lost"} 8.0' in (await client.get("/metrics")).text
        server.start()
        answer = refused
        for _ in range(200):
            if answer.status_code == httpx.codes.OK:
                break
            await asyncio.sleep(0.05)
            answer = await client.post("/users/w/interactions", json={"events": ["i2"]})
        assert answer.json()["count"] == 2  # what was posted in the outage came first


@pytest.mark.redis
async def test_events_from_two_processes_for_one_user_are_all_in_the_next_list(
    running: Running, everything: tuple[str, redis.Redis]
) -> None:
    url, _ = everything
    chosen = {"redis_url": url, "redis_timeout_ms": 5000}
    async with running(**chosen) as one, running(**chosen) as other:
        for turn in range(10):
            user_id = f"user-{turn}"
            await asyncio.gather(
                *(add(app, user_id, f"i{n}") for n in range(4) for app in (one, other))
            )
            expected = await posted(one, "i0", "i1", "i2", "i3")
            assert (await add(one, user_id))["count"] == 8
            for app in (one, other):
                assert (await list_of(app, user_id))["items"] == expected["items"]


@pytest.mark.redis
async def test_after_a_reload_the_kept_history_is_encoded_by_the_new_model(
    running: Running, everything: tuple[str, redis.Redis], other_model_dir: Path
) -> None:
    url, _ = everything
    chosen = {"redis_url": url, "redis_timeout_ms": 5000}
    async with running(**chosen) as before:
        await add(before, "u", *FILM_RATINGS)
        await posted(before, "i4", "i5", user_id="v")
    async with running(**chosen, model_dir=other_model_dir) as after:
        for user_id, history in (
            ("u", [*map(without_event_id, FILM_RATINGS)]),
            ("v", ["i4", "i5"]),
        ):
            expected = await posted(after, *history)
            outcomes = []
            for _ in range(2):
                found = await list_of(after, user_id)
                assert found["items"] == expected["items"]
                assert found["source"] == "model"
                outcomes.append(found["cache"])
            assert outcomes == ["miss", "hit"]
