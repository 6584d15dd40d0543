"""With keys set, nothing but probes and pages answers without one, and nothing tells a key."""

import hashlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import httpx
import pytest
from fastapi import FastAPI

Running = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]

KEY = "k3y-of-somebody-who-may-ask"
CHIEF = "k3y-of-somebody-who-may-do-all"
OPEN = {"/livez", "/readyz", "/metrics"}
PAGES = ("/", "/app.js", "/style.css", "/docs", "/openapi.json")


def sha256(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


@pytest.fixture
async def locked(running: Running) -> AsyncIterator[httpx.AsyncClient]:
    """A client, without a key, of a service that wants one."""
    async with running(
        api_keys_sha256=f"{sha256('another')}, {sha256(KEY)}", admin_keys_sha256=sha256(CHIEF)
    ) as client:
        yield client


def app_of(client: httpx.AsyncClient) -> FastAPI:
    app: FastAPI = client._transport.app  # type: ignore[attr-defined]  # of the ASGI transport
    return app


async def test_every_documented_route_but_the_probes_wants_a_key(locked: httpx.AsyncClient) -> None:
    document = (await locked.get("/openapi.json")).json()
    guarded = 0
    for path, operations in document["paths"].items():
        for method in operations:
            answer = await locked.request(method, path.replace("{", "").replace("}", ""))
            if path in OPEN:
                assert answer.status_code == 200, path
                continue
            guarded += 1
            assert answer.status_code == 401, (method, path)
            assert answer.headers["www-authenticate"] == 'Bearer realm="foldin"'
            assert answer.json()["type"] == "/problems/unauthenticated"
            assert "401" in operations[method]["responses"]
    assert guarded >= 5


async def test_pages_are_open_and_show_how_a_key_is_sent(locked: httpx.AsyncClient) -> None:
    for path in PAGES:
        assert (await locked.get(path)).status_code == 200, path
    document = (await locked.get("/openapi.json")).json()
    assert document["security"] == [{}, {"bearer": []}, {"header": []}]


@pytest.mark.parametrize("key", [KEY, CHIEF])
@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
async def test_a_key_opens_every_way_to_a_list(
    locked: httpx.AsyncClient, key: str, header: str
) -> None:
    locked.headers[header] = f"Bearer {key}" if header == "authorization" else key
    asked = {"history": ["i1"], "user_id": "u"}
    assert (await locked.post("/recommend", json=asked)).status_code == 200
    assert (await locked.post("/recommend/batch", json={"requests": [asked]})).status_code == 200
    for path in ("/users/u/recommendations", "/models", "/items"):
        assert (await locked.get(path)).status_code == 200, path
    events = {"events": ["i1"]}
    assert (await locked.post("/users/u/interactions", json=events)).status_code == 200
    assert (await locked.delete("/users/u")).status_code == 204


async def test_a_request_without_a_key_is_refused_before_its_body_is_read(
    locked: httpx.AsyncClient,
) -> None:
    pieces = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal pieces
        for _ in range(10):
            pieces += 1
            yield b" " * 1000

    for path in ("/recommend", "/recommend/batch"):
        answer = await locked.post(
            path, content=body(), headers={"content-type": "application/json"}
        )
        assert answer.status_code == 401
    assert pieces == 0


async def test_at_capacity_a_request_is_refused_before_its_body_is_read_and_probes_are_not(
    running: Running,
) -> None:
    pieces = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal pieces
        pieces += 1
        yield b"{}"

    async with running(api_keys_sha256=sha256(KEY)) as client:
        ready = app_of(client).state.service.ready
        ready.recommender.batcher._max_queue = 0
        headers = {"content-type": "application/json"}
        no_key = await client.post("/recommend", content=body(), headers=headers)
        assert no_key.status_code == 401
        headers["x-api-key"] = KEY
        refused = await client.post("/recommend", content=body(), headers=headers)
        assert refused.status_code == 503
        assert refused.json()["type"] == "/problems/overloaded"
        assert int(refused.headers["retry-after"]) >= 1
        for path in OPEN:
            assert (await client.get(path)).status_code == 200, path
        metrics = (await client.get("/metrics")).text
        assert 'foldin_refused_total{reason="overloaded"} 1.0' in metrics
    assert pieces == 0


async def test_an_admin_route_is_closed_without_admin_keys_and_open_to_them_alone(
    running: Running, locked: httpx.AsyncClient
) -> None:
    path = "/models/films/rollback"
    async with running() as client:
        closed = await client.post(path, headers={"x-api-key": CHIEF})
        assert closed.status_code == 403
        assert closed.json()["type"] == "/problems/forbidden"
    assert (await locked.post(path)).status_code == 401
    assert (await locked.post(path, headers={"x-api-key": KEY})).status_code == 403
    allowed = await locked.post(path, headers={"x-api-key": CHIEF})
    assert allowed.status_code not in {401, 403, 500}


async def test_a_key_is_in_no_log_no_metric_and_no_answer(
    locked: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "service")
    told = ""
    for key in (KEY, "wr0ng-key"):
        for path in ("/models", "/nowhere", "/users/u/recommendations?k=x"):
            answer = await locked.get(path, headers={"x-api-key": key})
            told += answer.text + str(answer.headers)
    told += (await locked.get("/metrics")).text
    told += str([record.__dict__ for record in caplog.records if record.name[:5] != "httpx"])
    assert "k3y" not in told
    assert "wr0ng" not in told
    assert sha256(KEY) not in told


async def test_refusals_are_counted_by_their_route(locked: httpx.AsyncClient) -> None:
    await locked.post("/recommend", json={"history": ["i1"]})
    metrics = (await locked.get("/metrics")).text
    assert 'foldin_requests_total{method="POST",route="/recommend",status="401"} 1.0' in metrics


async def test_no_answer_may_be_sniffed_and_none_is_for_other_origins(
    client: httpx.AsyncClient,
) -> None:
    origin = {"origin": "https://elsewhere.test"}
    for path in ("/", "/app.js", "/docs", "/livez", "/metrics", "/models", "/nowhere"):
        answer = await client.get(path, headers=origin)
        assert answer.headers["x-content-type-options"] == "nosniff", path
        assert not [name for name in answer.headers if name.startswith("access-control")]
    posted = await client.post("/recommend", json={"history": ["i1"]}, headers=origin)
    assert posted.headers["x-content-type-options"] == "nosniff"
    preflight = await client.options(
        "/recommend", headers=origin | {"access-control-request-method": "POST"}
    )
    assert preflight.status_code == 405


@pytest.mark.parametrize("path", ["/", "/docs", "/favicon.svg"])
async def test_pages_may_load_nothing_from_elsewhere_and_stand_in_no_frame(
    client: httpx.AsyncClient, path: str
) -> None:
    headers = (await client.get(path)).headers
    policy = dict(
        directive.strip().split(" ", 1)
        for directive in headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["form-action"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert policy["script-src"].startswith("'self'")
    assert "unsafe" not in policy["script-src"]
    assert headers["referrer-policy"] == "no-referrer"
    assert "http" not in str(policy)
