"""The way past the router and the way through it are the same way."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import pytest

Running = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]

BODIES = {
    "a list": b'{"history":["i1","i2"],"k":5}',
    "an unknown user": b'{"user_id":"nobody","fallback":false}',
    "a wrong field": b'{"history":["i1"],"k":0,"exlude_items":[]}',
    "no JSON": b"{",
}


async def post(client: httpx.AsyncClient, path: str, body: bytes, **headers: str) -> httpx.Response:
    declared = {"content-type": "application/json", "x-request-id": "asked-1"} | headers
    return await client.post(path, content=body, headers=declared)


def told(answer: httpx.Response) -> tuple[int, dict[str, Any], dict[str, str]]:
    content = answer.json()
    content.pop("recommendation_id", None)
    headers = dict(answer.headers)
    return answer.status_code, content, headers


@pytest.mark.parametrize("name", BODIES)
async def test_behind_a_prefix_the_router_gives_the_same_answer(
    running: Running, name: str
) -> None:
    async with running() as client:
        app = client._transport.app  # type: ignore[attr-defined]  # of the ASGI transport
        direct = await post(client, "/recommend", BODIES[name])
        behind = httpx.ASGITransport(app, root_path="/shop")
        async with httpx.AsyncClient(transport=behind, base_url="http://foldin.test") as proxied:
            routed = await post(proxied, "/shop/recommend", BODIES[name])
        metrics = (await client.get("/metrics")).text
    assert told(routed) == told(direct)
    labels = f'{{method="POST",route="/recommend",status="{direct.status_code}"}}'
    assert f"foldin_requests_total{labels} 2.0" in metrics


async def test_a_body_in_many_pieces_is_one_body(client: httpx.AsyncClient) -> None:
    async def pieces() -> Any:  # noqa: ANN401 - an async iterator of bytes
        for byte in BODIES["a list"]:
            yield bytes([byte])

    declared = {"content-type": "application/json"}
    answer = await client.post("/recommend", content=pieces(), headers=declared)
    assert len(answer.json()["items"]) == 5


async def test_only_a_post_takes_the_way_past_the_router(client: httpx.AsyncClient) -> None:
    for method in ("GET", "HEAD", "PUT", "OPTIONS"):
        answer = await client.request(method, "/recommend")
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
