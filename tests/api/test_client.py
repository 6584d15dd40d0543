"""The async client against the app."""

import hashlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from service.app import create_app
from service.client import AsyncClient, Row, ServiceError

KEY = "an admin's"


@pytest.fixture
async def foldin(settings: Any, until_ready: Any) -> AsyncIterator[AsyncClient]:  # noqa: ANN401 - fixtures
    app = create_app(settings(admin_keys_sha256=hashlib.sha256(KEY.encode()).hexdigest()))
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://foldin.test") as http,
        AsyncClient(
            "http://foldin.test", api_key=KEY, transport=httpx.ASGITransport(app)
        ) as client,
    ):
        await until_ready(http)
        yield client


async def test_every_call_has_its_answer(foldin: AsyncClient) -> None:
    answer = await foldin.recommend(history=["i1", {"item_id": "i2", "rating": 5}], k=4)
    assert len(answer["items"]) == 4
    kept = await foldin.add_interactions("u/1", ["i3", {"item_id": "i4", "event_id": "e"}])
    assert kept["count"] == 2
    assert (await foldin.recommend_to_user("u/1", k=2))["source"] == "model"
    steered = await foldin.recommend_to_user("u/1", k=2, steer={"0": 10, "1": -2.5})
    posted = await foldin.recommend(user_id="u/1", k=2, steer={"0": 10, "1": -2.5})
    assert steered["items"] == posted["items"]
    await foldin.forget_user("u/1")
    assert (await foldin.recommend_to_user("u/1", k=2))["source"] == "popularity"
    similar = await foldin.similar("i3", k=2, categories={"any": ["Shelf 1"]})
    assert (len(similar["items"]), similar["measure"]) == (2, "cosine")
    assert [item["item_id"] for item in await foldin.items("film 7", limit=1)] == ["i7"]
    assert [item["item_id"] for item in await foldin.items("film 17", model="films")] == ["i17"]
    placed = await foldin.item_map(limit=1, items=["i9"], model="films")
    assert [item["item_id"] for item in placed["items"]] == ["i0", "i9"]


async def test_models_are_asked_about_and_exchanged_by_name(foldin: AsyncClient) -> None:
    (card,) = await foldin.models()
    assert (card["name"], card["workers"]) == ("films", {card["version"]: 1})
    assert len(await foldin.dimensions("films", limit=2)) == 2
    assert (await foldin.reload("films"))["outcome"] == "unchanged"
    with pytest.raises(ServiceError) as caught:
        await foldin.rollback("films")
    assert caught.value.type == "/problems/no-previous-model"


async def test_events_name_their_model_and_may_be_strict(foldin: AsyncClient) -> None:
    kept = await foldin.add_interactions("u", ["i3", "nothing"], model="films")
    assert (kept["count"], kept["unknown_items"]) == (1, ["nothing"])
    with pytest.raises(ServiceError) as caught:
        await foldin.add_interactions("u", ["nothing"], on_unknown="error")
    assert caught.value.type == "/problems/unknown-items"


@pytest.mark.parametrize("user_id", [".", "..", "../models", "a/b", "a%2Fb", "ü?#"])
async def test_a_user_of_any_name_is_kept_and_forgotten(foldin: AsyncClient, user_id: str) -> None:
    assert (await foldin.add_interactions(user_id, ["i3"]))["count"] == 1
    assert (await foldin.recommend_to_user(user_id, k=2))["source"] == "model"
    await foldin.forget_user(user_id)
    assert (await foldin.recommend_to_user(user_id, k=2))["source"] == "popularity"


async def test_rows_that_fail_do_so_in_their_place(foldin: AsyncClient) -> None:
    rows: list[Row] = [{"history": ["i1"], "k": 1}, {"history": ["i1"], "k": 0}, {"user_id": "u"}]
    first, second, third = await foldin.batch(rows)
    assert isinstance(second, ServiceError)
    assert (second.status, second.problem["pointer"]) == (422, "/k")
    assert not isinstance(first, ServiceError)
    assert not isinstance(third, ServiceError)
    assert third["source"] == "popularity"


async def test_what_is_refused_is_raised(foldin: AsyncClient) -> None:
    with pytest.raises(ServiceError, match="nothing") as caught:
        await foldin.similar("nothing")
    assert (caught.value.status, caught.value.type) == (404, "/problems/unknown-item")
    assert caught.value.request_id
