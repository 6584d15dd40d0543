"""The routes that machines and people watch: probes, metrics, models, items, pages."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from service.app import PLAYGROUND, create_app
from service.deployment import Deployment
from service.errors import CheckpointMissingError, SettingsError
from service.settings import Settings

Running = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]
MakeSettings = Callable[..., Settings]
Wait = Callable[[httpx.AsyncClient], Awaitable[None]]


def bare_client(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://foldin.test")


async def test_before_the_model_is_loaded_only_probes_and_pages_answer(
    settings: MakeSettings,
) -> None:
    async with bare_client(create_app(settings())) as client:
        for path in ("/livez", "/metrics", "/docs", "/openapi.json", "/"):
            assert (await client.get(path)).status_code == 200, path
        for path in ("/readyz", "/models", "/items", "/users/u/recommendations"):
            answer = await client.get(path)
            assert answer.status_code == 503, path
            assert answer.json()["type"] == "/problems/not-ready"
            assert int(answer.headers["retry-after"]) >= 1
        for path in ("/recommend", "/recommend/batch"):
            assert (await client.post(path, json={})).status_code == 503


async def test_ready_comes_after_loading_and_ends_with_the_app(
    settings: MakeSettings, until_ready: Wait
) -> None:
    app = create_app(settings())
    async with bare_client(app) as client:
        async with app.router.lifespan_context(app):
            assert (await client.get("/readyz")).status_code == 503
            assert (await client.get("/livez")).json() == {"status": "alive"}
            assert (await client.head("/livez")).status_code == 200
            await until_ready(client)
            assert (await client.get("/readyz")).json() == {"status": "ready"}
        assert (await client.get("/readyz")).status_code == 503


async def test_one_of_several_workers_is_ready_before_it_listens(settings: MakeSettings) -> None:
    app = create_app(settings(workers=2))
    async with app.router.lifespan_context(app), bare_client(app) as client:
        assert (await client.get("/readyz")).status_code == 200


async def test_an_app_that_ends_while_it_loads_ends_in_peace(settings: MakeSettings) -> None:
    app = create_app(settings())
    async with app.router.lifespan_context(app):
        await asyncio.sleep(0)


async def test_a_bundle_that_cannot_be_served_is_one_line_and_a_call(
    settings: MakeSettings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    failed = asyncio.Event()
    errors: list[BaseException] = []

    def on_failure(error: BaseException) -> None:
        errors.append(error)
        failed.set()

    app = create_app(settings(model_dir=tmp_path), on_failure)
    async with app.router.lifespan_context(app), bare_client(app) as client:
        async with asyncio.timeout(10):
            await failed.wait()
        assert (await client.get("/readyz")).status_code == 503
    assert isinstance(errors[0], CheckpointMissingError)
    critical = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert [record.getMessage().split(": ")[1] for record in critical] == ["CheckpointMissingError"]
    assert critical[0].exc_info is None


async def test_a_failure_that_nobody_foresaw_is_logged_with_its_trace(
    settings: MakeSettings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def explode(*_: object) -> Deployment:
        raise MemoryError

    monkeypatch.setattr(Deployment, "open", explode)
    app = create_app(settings())
    async with app.router.lifespan_context(app):
        while not caplog.records:  # noqa: ASYNC110 - a log line sets no event
            await asyncio.sleep(0.005)
    assert caplog.records[0].exc_info is not None


def test_cuda_is_refused_where_there_is_none(
    settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SettingsError, match="no CUDA device"):
        create_app(settings(device="cuda"))


async def test_the_start_is_logged_in_one_line(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with running():
        pass
    (line,) = [record for record in caplog.records if record.name == "service.app"]
    fields = getattr(line, "fields", {})
    assert line.getMessage() == "ready"
    assert fields["model"] == "films"
    assert fields["version"].startswith("20260102T000000Z-")
    assert (fields["device"], fields["threads"]) == ("cpu", 1)
    assert (fields["retrieval"], fields["store"]) == ("exact", "memory")


async def test_metrics_count_by_route_template_and_hold_no_id(client: httpx.AsyncClient) -> None:
    await client.post("/recommend", json={"history": ["i1"], "user_id": "s3cret"})
    await client.get("/users/s3cret/recommendations")
    await client.get("/users/s3cret/recommendations?k=0")
    await client.get("/s3cret")
    await client.request("S3CRET", "/livez")
    answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.text.splitlines()
    user_route = 'method="GET",route="/users/{user_id}/recommendations"'
    for line in (
        'foldin_requests_total{method="POST",route="/recommend",status="200"} 1.0',
        f'foldin_requests_total{{{user_route},status="200"}} 1.0',
        f'foldin_requests_total{{{user_route},status="422"}} 1.0',
        'foldin_requests_total{method="GET",route="other",status="404"} 1.0',
        'foldin_requests_total{method="other",route="/livez",status="405"} 1.0',
        'foldin_request_seconds_count{route="/recommend"} 1.0',
        'foldin_recommendations_total{reason="",source="model"} 2.0',
        'foldin_cache_total{outcome="hit"} 1.0',
        "foldin_queue_rows 0.0",
    ):
        assert line in lines, line
    assert 'foldin_model_info{architecture="multvae",name="films",retrieval="exact"' in answer.text
    assert "s3cret" not in answer.text.lower()


async def test_the_log_has_one_line_a_request_and_no_id_of_a_user(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    headers = {"X-Request-ID": "r-1"}
    body = {"history": ["s3cret"], "user_id": "s3cret"}
    await client.post("/recommend", json=body, headers=headers)
    await client.get("/users/s3cret/recommendations?k=0", headers=headers)
    await client.get("/livez")
    lines = [record for record in caplog.records if record.name == "service.api.middleware"]
    fields = [getattr(record, "fields", {}) for record in lines]
    assert [(line["request_id"], line["route"], line["status"]) for line in fields] == [
        ("r-1", "/recommend", 200),
        ("r-1", "/users/{user_id}/recommendations", 422),
    ]
    assert all(line["milliseconds"] > 0 for line in fields)
    assert "s3cret" not in str([record.__dict__ for record in lines])


async def test_models_are_described(client: httpx.AsyncClient) -> None:
    (model,) = (await client.get("/models")).json()["models"]
    assert model["name"] == "films"
    assert model["architecture"] == "multvae"
    assert model["retrieval"] == "exact"
    assert model["num_items"] == 40
    assert model["positive_threshold"] == 4.0
    assert model["metrics"] == {"test": {"ndcg@100": 0.25}}
    assert model["created_at"].startswith("2026-01-02T00:00:00")
    assert re.fullmatch("[0-9a-f]{64}", model["digest"])
    assert model["version"].endswith(model["digest"][:8])


async def test_items_are_found_by_words_of_the_title(client: httpx.AsyncClient) -> None:
    answer = await client.get(
        "/items", params={"query": "été film 1", "limit": 2, "model": "films"}
    )
    assert answer.json() == {
        "items": [
            {"item_id": "i1", "title": "Film 1 Été", "categories": ["Drama", "Shelf 1"],
             "popularity": 38},
            {"item_id": "i10", "title": "Film 10 Été", "categories": ["Drama", "Shelf 1"],
             "popularity": 29},
        ]
    }  # fmt: skip
    everything = (await client.get("/items?limit=100")).json()["items"]
    assert [item["item_id"] for item in everything] == [f"i{index}" for index in range(40)]
    assert everything[-1]["title"] == ""


async def test_the_page_and_its_files_are_served(client: httpx.AsyncClient) -> None:
    index = await client.get("/")
    assert index.headers["content-type"].startswith("text/html")
    for path in PLAYGROUND.iterdir():
        if path.name != "index.html":
            answer = await client.get(f"/{path.name}")
            assert answer.content == path.read_bytes()
            assert (await client.head(f"/{path.name}")).status_code == 200
    unchanged = await client.get("/", headers={"if-none-match": index.headers["etag"]})
    assert unchanged.status_code == 304
