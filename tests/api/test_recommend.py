"""POST /recommend and GET /users/{user_id}/recommendations."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import numpy as np
import orjson
import pytest

from service.inference.engine import Engine, Job, Outcome

Running = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


def ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [item["item_id"] for item in answer.json()["items"]]


async def test_a_posted_history_gets_a_list_from_the_model(client: httpx.AsyncClient) -> None:
    answer = await client.post("/recommend", json={"history": ["i1", "i2"], "k": 5})
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) == {
        "items", "source", "unknown_items", "cache", "model", "recommendation_id",
    }  # fmt: skip
    assert body["source"] == "model"
    assert body["unknown_items"] == []
    assert body["cache"] == "bypass"
    assert body["model"]["name"] == "films"
    assert body["model"]["version"].startswith("20260102T000000Z-")
    assert len(body["items"]) == 5
    scores = [item["score"] for item in body["items"]]
    assert scores == sorted(scores, reverse=True)
    assert not {"i1", "i2"} & set(ids(answer))


async def test_scores_are_written_as_short_as_float32(client: httpx.AsyncClient) -> None:
    answer = await client.post("/recommend", json={"history": ["i1"], "k": 40})
    for item in answer.json()["items"]:
        score = item["score"]
        assert str(np.float32(score)) == str(score)


async def test_a_title_is_left_out_where_there_is_none(client: httpx.AsyncClient) -> None:
    answer = await client.post("/recommend", json={"history": ["i1"], "k": 40})
    by_id = {item["item_id"]: item for item in answer.json()["items"]}
    assert by_id["i0"]["title"] == "Film 0 Été"
    assert "title" not in by_id["i39"]


async def test_ids_objects_and_integers_mix_in_a_history(client: httpx.AsyncClient) -> None:
    history = ["i1", 7, {"item_id": "i2", "rating": 5, "weight": 0.5}, {"item_id": 8}]
    answer = await client.post("/recommend", json={"history": history, "k": 40})
    assert answer.json()["unknown_items"] == ["7", "8"]
    assert not {"i1", "i2"} & set(ids(answer))


async def test_a_weight_and_a_rating_reach_the_model(client: httpx.AsyncClient) -> None:
    async def asked(*history: Any) -> list[str]:  # noqa: ANN401 - JSON
        return ids(await client.post("/recommend", json={"history": history, "k": 40}))

    heavy = await asked({"item_id": "i1", "weight": 50}, "i2")
    assert heavy != await asked("i1", "i2")
    disliked = await asked({"item_id": "i1", "rating": 1}, "i2")
    liked = await asked({"item_id": "i1", "rating": 4}, "i2")
    assert disliked != liked
    assert liked == await asked("i1", "i2")
    assert "i1" not in disliked


async def test_excluded_items_stay_out_and_seen_ones_may_come_back(
    client: httpx.AsyncClient,
) -> None:
    request = {"history": ["i1"], "exclude_items": ["i2", "i3", "nope"], "exclude_seen": False}
    answer = await client.post("/recommend", json=request | {"k": 100})
    assert set(ids(answer)) == {f"i{index}" for index in range(40)} - {"i2", "i3"}
    assert answer.json()["unknown_items"] == ["nope"]


async def test_an_empty_history_gets_the_popular_items_and_says_so(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.post("/recommend", json={"history": [], "k": 3})
    assert ids(answer) == ["i0", "i1", "i2"]
    assert answer.json()["source"] == "popularity"
    assert answer.json()["reason"] == "empty_history"
    assert answer.json()["items"][0]["score"] == 39


async def test_a_user_is_answered_from_what_they_posted_before(client: httpx.AsyncClient) -> None:
    posted = await client.post("/recommend", json={"history": ["i1", "i2"], "user_id": 17, "k": 9})
    kept = await client.get("/users/17/recommendations", params={"k": 9})
    assert ids(kept) == ids(posted)
    assert kept.json()["cache"] == "hit"
    by_post = await client.post("/recommend", json={"user_id": "17", "k": 9})
    assert ids(by_post) == ids(posted)


async def test_parameters_of_a_user_list_do_what_the_fields_do(client: httpx.AsyncClient) -> None:
    await client.post("/recommend", json={"history": ["i1", "i2"], "user_id": "u"})
    url = "/users/u/recommendations?k=100&exclude_items=i3&exclude_items=i4&exclude_items=x"
    answer = await client.get(f"{url}&exclude_seen=false&on_unknown=ignore&model=films")
    assert set(ids(answer)) == {f"i{index}" for index in range(40)} - {"i3", "i4"}
    assert answer.json()["unknown_items"] == ["x"]
    assert (await client.get(f"{url}&on_unknown=error")).status_code == 422


async def test_a_user_id_may_hold_slashes_and_any_letters(client: httpx.AsyncClient) -> None:
    user_id = "shop/42 ä%?#"
    await client.post("/recommend", json={"history": ["i1"], "user_id": user_id})
    quoted = "shop%2F42%20%C3%A4%25%3F%23"
    answer = await client.get(f"/users/{quoted}/recommendations")
    assert answer.json()["cache"] == "hit"


async def test_an_unknown_user_gets_the_popular_items_or_a_problem(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.get("/users/nobody/recommendations?k=1")
    assert ids(answer) == ["i0"]
    assert answer.json()["reason"] == "unknown_user"
    refused = await client.get("/users/nobody/recommendations?fallback=false")
    assert refused.status_code == 404
    assert refused.json()["type"] == "/problems/unknown-user"


async def test_two_hundred_requests_at_once_share_batches(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Engine.run

    def unhurried(engine: Engine, jobs: Sequence[Job]) -> list[Outcome]:
        time.sleep(0.01)  # on a busy machine a tiny model answers faster than requests come
        return run(engine, jobs)

    monkeypatch.setattr(Engine, "run", unhurried)
    async with running(max_batch=32) as client:

        async def ask(number: int) -> httpx.Response:
            history = [f"i{number % 40}", f"i{(number * 7 + 3) % 40}"]
            return await client.post("/recommend", json={"history": history, "k": 5})

        together = await asyncio.gather(*(ask(number) for number in range(200)))
        metrics = (await client.get("/metrics")).text
        assert [answer.status_code for answer in together] == [200] * 200
        alone = [await ask(number) for number in range(0, 200, 40)]
        assert [ids(answer) for answer in alone] == [ids(answer) for answer in together[::40]]
    counted = dict(line.split(" ") for line in metrics.splitlines() if not line.startswith("#"))
    batches = float(counted["foldin_batch_size_count"])
    assert float(counted["foldin_batch_size_sum"]) == 200
    assert batches < 100
    assert float(counted['foldin_batch_size_bucket{le="32.0"}']) == batches


async def test_k_may_be_the_whole_catalogue_where_the_limit_allows(running: Running) -> None:
    async with running(max_k=40) as client:
        answer = await client.post("/recommend", json={"history": ["i1"], "k": 40})
        assert len(ids(answer)) == 39


async def test_any_json_type_is_taken_as_json(client: httpx.AsyncClient) -> None:
    for media_type in ("application/json; charset=utf-8", "Application/JSON", "application/x+json"):
        answer = await client.post(
            "/recommend",
            content=orjson.dumps({"history": ["i1"]}),
            headers={"content-type": media_type},
        )
        assert answer.status_code == 200


@pytest.mark.parametrize("given", ["abc-123", "!" * 128])
async def test_a_sane_request_id_comes_back(client: httpx.AsyncClient, given: str) -> None:
    answer = await client.get("/livez", headers={"X-Request-ID": given})
    assert answer.headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "a" * 129, "a b", "a\tb", "ä"])
async def test_any_other_request_id_is_replaced(client: httpx.AsyncClient, given: str) -> None:
    answer = await client.get("/livez", headers={b"X-Request-ID": given.encode()})
    assert len(answer.headers["x-request-id"]) == 32
    assert answer.headers["x-request-id"] != given
