"""POST /recommend/batch as a stream: a line in, a line out."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.errors import OverloadedError
from service.inference.batcher import Batcher
from service.recommendation import Query, Recommendation
from service.recommender import Recommender

Running = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]
HEADERS = {"content-type": "application/x-ndjson"}
BATCH = "/recommend/batch"


def body_of(rows: Iterable[object]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


async def post(client: httpx.AsyncClient, body: bytes) -> list[dict[str, Any]]:
    answer = await client.post(BATCH, content=body, headers=HEADERS)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.content.splitlines()]


def without_id(answer: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in answer.items() if key != "recommendation_id"}


async def test_good_and_bad_rows_keep_their_order(client: httpx.AsyncClient) -> None:
    rows = [
        b'{"history": ["i1"], "k": 3}',
        b'{"history": ["i1"], "k": 0}',
        b'{"history": ["i1", "k": 3}',
        b"\xff",
        b'"no row"',
        b"",
        b'{"history": [], "fallback": false}',
        b'{"history": [], "k": 2}',
        b'{"history": ["i1"], "k": 101}',
        b'{"history": ["i1"], "k": 3}',
    ]
    answers = await post(client, b"\n".join(rows))
    assert [(answer.get("source"), answer.get("status")) for answer in answers] == [
        ("model", None), (None, 422), (None, 400), (None, 400), (None, 422), (None, 422),
        ("popularity", None), (None, 422), ("model", None),
    ]  # fmt: skip
    assert answers[1]["pointer"] == "/k"
    assert answers[2]["type"] == "/problems/malformed-json"
    assert answers[5]["type"] == "/problems/empty-history"
    assert answers[7]["type"] == "/problems/too-many-results"
    assert answers[0]["items"] == answers[8]["items"]
    assert len({answer["request_id"] for answer in answers if "status" in answer}) == 1


async def test_an_empty_stream_has_an_empty_answer(client: httpx.AsyncClient) -> None:
    assert await post(client, b"") == []
    assert await post(client, b"\n\n") == []


ITEM = st.sampled_from([f"i{number}" for number in range(40)] + ["unknown", "Ünknown/2"])
ROW = st.fixed_dictionaries(
    {"history": st.lists(ITEM | st.fixed_dictionaries({"item_id": ITEM}), max_size=6)},
    optional={
        "k": st.integers(1, 50),
        "exclude_items": st.lists(ITEM, max_size=3),
        "exclude_seen": st.booleans(),
        "categories": st.fixed_dictionaries({"any": st.lists(st.just("Shelf 1"), max_size=1)}),
        "fallback": st.booleans(),
    },
)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ROW, min_size=1, max_size=8), cut=st.integers(1, 50))
def test_a_row_in_a_stream_equals_the_row_alone(
    running: Running, rows: list[dict[str, Any]], cut: int
) -> None:
    async def compare() -> None:
        async with running() as client:
            body = body_of(rows)

            async def pieces() -> AsyncIterator[bytes]:
                for start in range(0, len(body), cut):
                    yield body[start : start + cut]

            streamed = await client.post(BATCH, content=pieces(), headers=HEADERS)
            answers = [json.loads(line) for line in streamed.content.splitlines()]
            for row, answer in zip(rows, answers, strict=True):
                alone = (await client.post("/recommend", json=row)).json()
                if "status" in alone:
                    assert answer["type"] == alone["type"]
                else:
                    assert without_id(answer) == without_id(alone)

    asyncio.run(compare())


async def test_a_row_that_is_too_long_is_a_problem_and_the_stream_goes_on(
    running: Running,
) -> None:
    async with running(max_body_bytes=100) as client:
        good = {"history": ["i1"], "k": 1}
        answers = await post(client, body_of([good, {"history": ["i1"] * 40}, *[good] * 200]))
    assert answers[1]["status"] == 413
    assert all("items" in answer for answer in [answers[0], *answers[2:]])
    assert len(answers) == 202


async def test_a_stream_may_have_more_rows_than_a_batch_and_than_the_queue(
    running: Running,
) -> None:
    async with running(max_batch=4, max_queue=8, max_batch_requests=10) as client:
        rows = [{"history": [f"i{number % 40}"], "k": 1} for number in range(300)]
        answers = await post(client, body_of(rows))
    assert all("items" in answer for answer in answers)
    assert len(answers) == 300


async def test_a_stream_keeps_what_its_rows_post_of_users(client: httpx.AsyncClient) -> None:
    first, second = await post(
        client, body_of([{"history": ["i1"], "user_id": "u"}, {"history": ["i2"]}])
    )
    assert "items" in second
    (kept,) = await post(client, body_of([{"user_id": "u"}]))
    assert kept["cache"] == "hit"
    assert kept["items"] == first["items"]


async def test_a_row_that_breaks_the_service_breaks_alone(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    recommend = Recommender.recommend

    async def fragile(self: Recommender, query: Query, *, bulk: bool) -> Recommendation:
        if query.k == 2:
            raise RuntimeError("s3cret")
        return await recommend(self, query, bulk=bulk)

    monkeypatch.setattr(Recommender, "recommend", fragile)
    good, bad, other = await post(client, body_of([{"history": ["i1"], "k": k} for k in (1, 2, 3)]))
    assert (len(good["items"]), len(other["items"])) == (1, 3)
    assert bad["status"] == 500
    assert "s3cret" not in json.dumps(bad)
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert [record.getMessage() for record in errors] == ["a row failed"]


@pytest.mark.parametrize(("refusals", "status"), [(1, None), (100, 503)])
async def test_a_row_that_finds_the_queue_full_comes_again_for_a_while(
    client: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    refusals: int,
    status: int | None,
) -> None:
    left = refusals
    require_room = Batcher.require_room

    def full(self: Batcher, *, bulk: bool = False) -> None:
        nonlocal left
        if left:
            left -= 1
            raise OverloadedError(1)
        require_room(self, bulk=bulk)

    monkeypatch.setattr(Batcher, "require_room", full)
    monkeypatch.setattr("service.api.batch.PAUSES_S", (0.0, 0.0))
    (answer,) = await post(client, body_of([{"history": ["i1"]}]))
    assert answer.get("status") == status


async def test_what_concerns_all_rows_is_one_problem(running: Running) -> None:
    async with running(api_keys_sha256="0" * 64) as client:
        answer = await client.post(BATCH, content=b"{}\n", headers=HEADERS)
        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/problem+json"
    async with running() as client:
        answer = await client.post(BATCH, content=b"{}\n", headers={"content-type": "text/plain"})
        assert answer.status_code == 415


async def test_single_requests_go_before_the_rows_of_a_stream(running: Running) -> None:
    async with running(max_batch=1) as client:
        rows = [{"history": [f"i{number % 40}"]} for number in range(400)]
        stream = asyncio.create_task(post(client, body_of(rows)))
        await asyncio.sleep(0.02)
        single = await client.post("/recommend", json={"history": ["i1"]})
        assert single.status_code == 200
        assert not stream.done()
        await stream


async def test_the_first_row_that_the_end_of_the_service_leaves_no_time_for_is_told(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    recommend = Recommender.recommend
    end = client._transport.app.state.service.stream_end  # type: ignore[attr-defined]

    async def last(self: Recommender, query: Query, *, bulk: bool) -> Recommendation:
        end.come()
        return await recommend(self, query, bulk=bulk)

    monkeypatch.setattr(Recommender, "recommend", last)
    rows = body_of([{"history": ["i1"]}] * 3)
    answered, refused = await post(client, rows)
    assert "items" in answered
    assert refused["type"] == "/problems/draining"
    late = await client.post(BATCH, content=rows, headers=HEADERS)
    assert late.status_code == 503
    assert late.json()["type"] == "/problems/draining"
    assert "retry-after" in late.headers


async def test_the_document_tells_of_both_ways_in_and_out(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    operation = document["paths"][BATCH]["post"]
    both = {"application/json", "application/x-ndjson"}
    assert set(operation["requestBody"]["content"]) == both
    assert set(operation["responses"]["200"]["content"]) == both
    example = operation["requestBody"]["content"]["application/x-ndjson"]["example"]
    assert all("items" in answer for answer in await post(client, example.encode()))
