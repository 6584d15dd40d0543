"""A busy service in one scrape: every route, every status, few series, names as they should be."""

import asyncio
import shutil
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import httpx
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

Running = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]

MAX_SERIES = 300
# Stands in every id and path that is sent, and may stand in no label.
MARK = "s3cret"
PAGES = ("/", "/app.js", "/api.js", "/style.css", "/favicon.svg", "/docs", "/openapi.json")
BAD_BODIES = (b"{", b'{"history":[1],"k":0}', b'{"history":["i1"],"model":"none"}', b" " * 200_000)


async def be_busy(client: httpx.AsyncClient) -> str:
    """Meet every route with every answer that can be had, and give what /metrics says then."""
    declared = {"content-type": "application/json"}
    for path in ("/recommend", "/recommend/batch"):
        for body in BAD_BODIES:
            await client.post(path, content=body, headers=declared)
        await client.post(path, content=b"{}")  # which does not say that it is JSON
        await client.get(path)
    questions: tuple[dict[str, object], ...] = (
        {"history": ["i1", "i2"], "user_id": MARK},
        {"history": [MARK]},
        {"history": []},
        {"history": [{"item_id": "i1", "rating": 1}]},
        {"user_id": f"{MARK}-2"},
        {"user_id": f"{MARK}-3", "fallback": False},
        {"history": [MARK], "on_unknown": "error"},
    )
    for asked in questions:
        await client.post("/recommend", json=asked)
        await client.post("/recommend/batch", json={"requests": [asked]})
    for number in range(30):
        await client.get(f"/users/{MARK}-{number}/recommendations")
        await client.get(f"/{MARK}/{number}")
    await client.get(f"/users/{MARK}/recommendations?k=5")
    await client.get(f"/users/{MARK}/recommendations?k=0")
    for path in ("/models", "/items", "/items?limit=x", "/livez", "/readyz", "/metrics", *PAGES):
        for method in ("GET", "HEAD", "DELETE", MARK.upper()):
            await client.request(method, path)
    await client.post(f"/models/{MARK}/reload")
    await client.post(f"/models/{MARK}/rollback")
    return (await client.get("/metrics")).text


@pytest.fixture
async def scrape(running: Running) -> str:
    async with running(max_body_bytes=100_000) as client:
        return await be_busy(client)


def families(scrape: str) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(scrape)}


def total(family: Metric, suffix: str = "_total", **labels: str) -> float:
    return sum(
        sample.value
        for sample in family.samples
        if sample.name == family.name + suffix and labels.items() <= sample.labels.items()
    )


async def test_a_busy_scrape_has_few_series_and_no_id(scrape: str) -> None:
    series = [line for line in scrape.splitlines() if not line.startswith("#")]
    assert len(series) < MAX_SERIES
    assert MARK not in scrape.lower()


async def test_every_metric_is_explained_typed_and_named_by_the_rules(scrape: str) -> None:
    found = families(scrape)
    assert len(found) >= 9
    for name, family in found.items():
        assert name.startswith("foldin_"), name
        assert family.documentation, name
        assert family.type in {"counter", "gauge", "histogram"}, name
        assert not any(word in name for word in ("_ms", "_millis", "_created")), name


async def test_failures_are_in_the_figures_of_requests(scrape: str) -> None:
    requests = families(scrape)["foldin_requests"]
    for status in ("200", "400", "404", "413", "415", "422"):
        assert total(requests, route="/recommend", status=status) > 0, status
    assert total(requests, status="405") > 0
    assert total(requests, route="other", status="404") == 30
    seconds = families(scrape)["foldin_request_seconds"]
    routes = {sample.labels["route"] for sample in seconds.samples}
    assert routes == {
        "/recommend", "/recommend/batch", "/users/{user_id}/recommendations", "other",
    }  # fmt: skip
    # The scrape itself is counted when it has ended.
    assert total(seconds, "_count") == total(requests)


async def test_lists_stages_and_the_store_add_up(scrape: str) -> None:
    found = families(scrape)
    lists, stages = found["foldin_recommendations"], found["foldin_stage_seconds"]
    by_model = total(lists, source="model")
    assert by_model >= 2
    assert total(lists, source="popularity", reason="no_known_items") >= 2
    assert total(lists, source="popularity", reason="unknown_user") >= 30
    assert total(stages, "_count", stage="queue") == by_model
    assert total(found["foldin_batch_size"], "_sum") == by_model
    assert total(stages, "_count", stage="engine") == total(found["foldin_batch_size"], "_count")
    for stage in ("encode", "retrieve", "store_get", "store_put"):
        assert total(stages, "_count", stage=stage) > 0, stage
    assert total(stages, "_sum", stage="encode") > 0
    cache = found["foldin_cache"]
    assert total(cache, outcome="hit") >= 1
    assert total(cache, outcome="miss") >= 30
    assert total(found["foldin_model_info"], "") == 1


async def test_promtool_finds_nothing_to_complain_about(scrape: str) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool: apt-get install prometheus")
    done = await asyncio.create_subprocess_exec(
        *(promtool, "check", "metrics"),
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, complaints = await done.communicate(scrape.encode())
    assert (done.returncode, complaints) == (0, b"")
