"""POST /recommend/batch: many rows, each with its own answer."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import httpx
import pytest

from service.recommendation import Query, Recommendation
from service.recommender import Recommender

Running = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


async def test_good_and_bad_rows_keep_their_order(client: httpx.AsyncClient) -> None:
    rows = [
        {"history": ["i1"], "k": 3},
        {"history": ["i1"], "k": 0},
        "no row",
        {"history": [], "fallback": False},
        {"history": [], "k": 2},
        {"history": ["i1"] * 10_001},
        {"history": ["i1"], "k": 3},
    ]
    answer = await client.post("/recommend/batch", json={"requests": rows})
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [result.get("source") for result in results] == [
        "model", None, None, None, "popularity", None, "model",
    ]  # fmt: skip
    assert [(result.get("status"), result.get("pointer")) for result in results] == [
        (None, None),
        (422, "/requests/1/k"),
        (422, "/requests/2"),
        (422, "/requests/3/history"),
        (None, None),
        (422, "/requests/5/history"),
        (None, None),
    ]
    assert results[2]["errors"] == [
        {"pointer": "/requests/2", "detail": "an object is expected here"}
    ]
    assert results[0]["items"] == results[6]["items"]
    assert results[3]["type"] == "/problems/empty-history"
    assert results[1]["request_id"] == answer.headers["x-request-id"]


async def test_a_row_in_a_batch_equals_the_row_alone(client: httpx.AsyncClient) -> None:
    rows = [{"history": [f"i{number}", f"i{number + 1}"], "k": 7} for number in range(30)]
    batch = await client.post("/recommend/batch", json={"requests": rows})
    for row, result in zip(rows, batch.json()["results"], strict=True):
        alone = (await client.post("/recommend", json=row)).json()
        assert [item["item_id"] for item in alone["items"]] == [
            item["item_id"] for item in result["items"]
        ]


async def test_a_batch_may_be_longer_than_the_queue(running: Running) -> None:
    async with running(max_batch=4, max_queue=8) as client:
        rows = [{"history": [f"i{number % 40}"], "k": 1} for number in range(300)]
        answer = await client.post("/recommend/batch", json={"requests": rows})
        assert all("items" in result for result in answer.json()["results"])


async def test_an_empty_batch_is_answered(client: httpx.AsyncClient) -> None:
    answer = await client.post("/recommend/batch", json={"requests": []})
    assert answer.json() == {"results": []}


@pytest.mark.parametrize(
    ("body", "status", "kind", "pointer"),
    [
        (b"[", 400, "malformed-json", None),
        (b"[]", 422, "invalid-fields", ""),
        (b"{}", 422, "invalid-fields", "/requests"),
        (b'{"requests":{}}', 422, "invalid-fields", "/requests"),
        (b'{"requests":[],"k":5}', 422, "invalid-fields", "/k"),
        (b'{"requests":[%s1]}' % (b"1," * 1000), 422, "batch-too-long", "/requests"),
    ],
)
async def test_a_bad_envelope_gets_one_problem(
    client: httpx.AsyncClient, body: bytes, status: int, kind: str, pointer: str | None
) -> None:
    headers = {"content-type": "application/json"}
    answer = await client.post("/recommend/batch", content=body, headers=headers)
    assert answer.status_code == status
    assert answer.json()["type"] == f"/problems/{kind}"
    assert answer.json().get("pointer") == pointer


async def test_a_row_that_breaks_the_service_breaks_alone(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    recommend = Recommender.recommend

    async def fragile(self: Recommender, query: Query, *, bulk: bool) -> Recommendation:
        if query.k == 2:
            raise RuntimeError("s3cret")
        return await recommend(self, query, bulk=bulk)

    monkeypatch.setattr(Recommender, "recommend", fragile)
    rows = [{"history": ["i1"], "k": k} for k in (1, 2, 3)]
    answer = await client.post("/recommend/batch", json={"requests": rows})
    good, bad, _ = answer.json()["results"]
    assert len(good["items"]) == 1
    assert bad["status"] == 500
    assert bad["type"] == "/problems/internal-error"
    assert "detail" not in bad
    assert "s3cret" not in answer.text
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert [record.getMessage() for record in errors] == ["a row failed"]


async def test_single_requests_go_before_the_rows_of_a_batch(running: Running) -> None:
    async with running(max_batch=1) as client:
        rows = [{"history": [f"i{number % 40}"]} for number in range(400)]
        batch = asyncio.create_task(client.post("/recommend/batch", json={"requests": rows}))
        await asyncio.sleep(0.02)
        single = await client.post("/recommend", json={"history": ["i1"]})
        assert single.status_code == 200
        assert not batch.done()
        await batch
