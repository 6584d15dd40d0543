"""The clients: what they send, and what they make of answers, right or wrong ones."""

import json
from collections.abc import Callable, Iterator
from typing import Any, get_type_hints

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from service import client_calls as calls
from service import client_messages as messages
from service.api import (
    answers,
    dimensions,
    exchange,
    item_map,
    items,
    models,
    parameters,
    schemas,
    user_schemas,
)
from service.client import AsyncClient, Client, Row, ServiceError

ANSWER = {"items": [{"item_id": "i1", "score": 1.0}], "source": "model"}
PROBLEM = {
    "type": "/problems/overloaded",
    "title": "The service is at capacity",
    "status": 503,
    "detail": "come back later",
    "request_id": "r-1",
}
Answer = Callable[[httpx.Request], httpx.Response]


def client_of(answer: Answer, **options: str | float) -> Client:
    transport = httpx.MockTransport(answer)
    return Client("http://foldin.test/prefix", transport=transport, **options)  # type: ignore[arg-type]  # keywords of two types


def refusing(_: httpx.Request) -> httpx.Response:
    headers = {"content-type": "application/problem+json", "retry-after": "3"}
    return httpx.Response(503, headers=headers, content=json.dumps(PROBLEM))


def test_a_call_goes_out_once_with_the_key_and_without_what_is_not_asked() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=ANSWER)

    with client_of(answer, api_key="k3y") as client:
        assert client.recommend(history=["1"], k=2)["source"] == "model"
    (request,) = seen
    assert request.url == "http://foldin.test/prefix/recommend"
    assert request.headers["authorization"] == "Bearer k3y"
    assert json.loads(request.content) == {"history": ["1"], "k": 2}


def test_ids_keep_their_slashes_and_dots_and_options_become_parameters() -> None:
    seen: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.raw_path.removeprefix(b"/prefix"))
        return httpx.Response(200, json=ANSWER)

    with client_of(answer) as client:
        client.add_interactions("a/b?ü", [])
        client.forget_user("..")
        client.similar("../c", k=3, categories={"any": ["x", "y"], "none": ["z"]})
        client.item_map(items=["1", "260"], limit=0)
    assert seen == [
        b"/users/a%2Fb%3F%C3%BC/interactions",
        b"/users/%2E%2E",
        b"/items/%2E%2E%2Fc/similar?k=3&categories_any=x&categories_any=y&categories_none=z",
        b"/items/map?items=1&items=260&limit=0",
    ]


def test_a_user_is_asked_for_with_the_very_numbers_that_are_given() -> None:
    seen: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.content)
        return httpx.Response(200, json=ANSWER)

    steer = {"3": -1.5, "12": 1e-9}
    with client_of(answer) as client:
        client.recommend(user_id="u", steer=steer)
        client.recommend_to_user("u", steer=steer)
    posted, asked = map(json.loads, seen)
    assert posted == asked == {"user_id": "u", "steer": steer}


@pytest.mark.parametrize(
    ("message", "schema"),
    [
        (messages.Entry, schemas.HistoryObject),
        (messages.Event, user_schemas.EventObject),
        (messages.EventOptions, user_schemas.EventsRequest),
        (messages.Row, schemas.RecommendRequest),
        (messages.ItemOptions, parameters.ItemParameters),
        (messages.MapOptions, item_map.MapParameters),
        (messages.Item, answers.RecommendedItem),
        (messages.Cause, answers.CauseNote),
        (messages.Model, answers.AnsweringModel),
        (messages.Recommendation, answers.RecommendAnswer),
        (messages.CatalogItem, answers.ItemCard),
        (messages.SimilarItem, items.SimilarItem),
        (messages.SimilarItems, items.SimilarAnswer),
        (messages.KeptUser, user_schemas.KeptUserAnswer),
        (messages.MappedItem, item_map.MappedItem),
        (messages.ItemMap, item_map.MapAnswer),
        (messages.NamedItem, dimensions.NamedItem),
        (messages.Side, dimensions.DimensionSide),
        (messages.Dimension, dimensions.DimensionCard),
        (messages.ModelCard, models.ModelCard),
        (messages.Exchange, exchange.ExchangeAnswer),
    ],
)
def test_a_message_has_the_fields_that_the_service_has(
    message: Any,  # noqa: ANN401 - a TypedDict is no type to mypy
    schema: type[BaseModel],
) -> None:
    arguments = {"events", "query"}  # of the method itself
    fields = {name: about for name, about in schema.model_fields.items() if name not in arguments}
    assert set(get_type_hints(message)) == set(fields)
    required = {name for name, about in fields.items() if about.is_required()}
    assert message.__required_keys__ == required


def test_a_problem_is_raised_with_all_that_the_service_says() -> None:
    with client_of(refusing) as client, pytest.raises(ServiceError, match="come back") as caught:
        client.recommend(history=[])
    error = caught.value
    assert (error.status, error.type, error.detail) == (503, PROBLEM["type"], PROBLEM["detail"])
    assert (error.request_id, error.retry_after_s, error.problem) == ("r-1", 3, PROBLEM)


@pytest.mark.parametrize("phrase", ["Bad Gateway", ""])
def test_a_proxy_that_knows_no_problems_is_understood_too(phrase: str) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        extensions = {"reason_phrase": phrase.encode()}
        return httpx.Response(502, html="<h1>no</h1>", extensions=extensions)

    with client_of(answer) as client, pytest.raises(ServiceError) as caught:
        client.models()
    assert (caught.value.status, caught.value.type) == (502, "about:blank")
    assert caught.value.retry_after_s is None


async def test_a_stream_that_is_refused_raises_what_the_service_says() -> None:
    rows: list[Row] = [{"history": ["1"]}]
    with client_of(refusing) as client, pytest.raises(ServiceError, match="come back"):
        client.batch(rows)
    transport = httpx.MockTransport(refusing)
    async with AsyncClient("http://foldin.test", transport=transport) as async_client:
        with pytest.raises(ServiceError, match="come back"):
            await async_client.batch(rows)


def test_rows_are_made_as_they_are_sent() -> None:
    made = 0

    def rows() -> Iterator[Row]:
        nonlocal made
        for made in range(1, 100_001):  # noqa: B007 - read outside
            yield {"history": ["1"] * 100}

    def answer(request: httpx.Request) -> httpx.Response:
        count = request.content.count(b"\n")
        return httpx.Response(200, content=(json.dumps(ANSWER).encode() + b"\n") * count)

    with client_of(answer) as client:
        stream = client.stream(rows())
        assert [next(stream)["source"] for _ in range(1000)] == ["model"] * 1000  # type: ignore[index]  # no row fails
    assert 1000 < made < 1500


@given(st.lists(st.integers(0, 40_000), max_size=12))
def test_bodies_are_small_enough_to_be_taken_in_before_they_are_answered(sizes: list[int]) -> None:
    rows: list[Row] = [{"user_id": "x" * size} for size in sizes]
    bodies = list(calls.bodies_of(rows))
    assert [json.loads(line) for body in bodies for line in body.splitlines()] == rows
    assert all(len(body) <= calls.MAX_POST_BYTES for body in bodies)


def test_a_row_that_is_larger_than_a_body_has_one_of_its_own() -> None:
    rows: list[Row] = [{"user_id": "a"}, {"user_id": "x" * 70_000}, {"user_id": "b"}]
    assert [body.count(b"\n") for body in calls.bodies_of(rows)] == [1, 1, 1]


@given(st.lists(st.text(), max_size=5), st.integers(1, 50))
def test_titles_end_no_line(titles: list[str], size: int) -> None:
    contents = [{"items": [{"title": title}]} for title in titles]
    body = b"".join(
        json.dumps(c, ensure_ascii=False).encode("utf-8", "replace") + b"\n" for c in contents
    )
    lines = calls.Lines()
    read = [
        answer
        for start in range(0, len(body), size)
        for answer in lines.answers(body[start : start + size])
    ]
    expected = [json.loads(line) for line in body.split(b"\n")[:-1]]
    assert read == expected
