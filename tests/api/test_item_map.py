"""GET /items/map: where items lie beside one another."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest

Running = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


async def mapped(client: httpx.AsyncClient, **parameters: Any) -> dict[str, Any]:  # noqa: ANN401 - a query
    answer = await client.get("/items/map", params=parameters)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def ids(body: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in body["items"]]


async def test_popular_items_come_first_and_named_ones_once_behind_them(
    client: httpx.AsyncClient,
) -> None:
    body = await mapped(client, limit=3, items=["i20", "i1", "nobody's", "i39", "i20"])
    assert ids(body) == ["i0", "i1", "i2", "i20", "i39"]
    assert body["unknown_items"] == ["nobody's"]
    assert body["model"]["name"] == "films"
    assert body["items"][0]["title"] == "Film 0 Été"
    assert "title" not in body["items"][-1]


async def test_an_item_lies_in_one_place_whatever_is_asked(client: httpx.AsyncClient) -> None:
    everything = {item["item_id"]: item for item in (await mapped(client))["items"]}
    assert len(everything) == 40
    for parameters in ({"limit": 0, "items": ["i7", "i38"]}, {"limit": 2}):
        for item in (await mapped(client, **parameters))["items"]:
            assert item == everything[item["item_id"]]
    first, second = (await mapped(client, limit=0))["shares"]
    assert 1 > first >= second > 0


async def test_what_is_unavailable_is_not_among_the_popular(
    running: Running, tmp_path: Path
) -> None:
    hidden = tmp_path / "unavailable"
    hidden.write_text("i0\ni2\n")
    async with running(unavailable_file=hidden) as client:
        assert ids(await mapped(client, limit=3)) == ["i1", "i3", "i4"]
        # What somebody has may be looked up all the same.
        assert ids(await mapped(client, limit=1, items=["i2"])) == ["i1", "i2"]


@pytest.mark.parametrize("architecture", ["hybrid", "cdae", "elsa", "autorec-item", "betavae"])
async def test_every_model_with_vectors_of_items_has_a_map(
    running: Running, write_bundle: Callable[..., Path], tmp_path: Path, architecture: str
) -> None:
    write_bundle(tmp_path, 30, architecture)
    async with running(model_dir=tmp_path) as client:
        places = {(item["x"], item["y"]) for item in (await mapped(client))["items"]}
        assert len(places) == 30


async def test_a_model_without_vectors_has_none_and_says_so(
    running: Running, write_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    write_bundle(tmp_path, 30, "ease", name="weights")
    async with running(model_dir=tmp_path) as client:
        answer = await client.get("/items/map")
        assert answer.status_code == 422
        assert answer.json()["type"] == "/problems/unsupported-view"
        assert "vectors of items, which the model weights has not" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("query", "status", "kind"),
    [
        ("model=other", 404, "unknown-model"),
        ("limit=-1", 422, "invalid-fields"),
        ("limit=2001", 422, "invalid-fields"),
        ("k=3", 422, "invalid-fields"),
        ("items=i1&" * 201, 422, "invalid-fields"),
    ],
)
async def test_what_cannot_be_shown_says_why(
    client: httpx.AsyncClient, query: str, status: int, kind: str
) -> None:
    answer = await client.get(f"/items/map?{query}")
    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{kind}")
