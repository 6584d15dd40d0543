"""Filters come before the best are picked: lists are full, whatever is left to choose from."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest

Running = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]
NUM_ITEMS = 40
# Item 39 has no category; all others are dramas, on three shelves by turns.
ON_SHELF_1 = {f"i{number}" for number in range(1, NUM_ITEMS - 1, 3)}


async def listed(client: httpx.AsyncClient, **request: Any) -> list[str]:  # noqa: ANN401 - a body
    answer = await client.post("/recommend", json={"history": ["i0"], "k": 40} | request)
    assert answer.status_code == 200, answer.text
    return [item["item_id"] for item in answer.json()["items"]]


@pytest.mark.parametrize("retrieval", ["exact", "int8"])
async def test_a_filter_keeps_the_order_and_shortens_no_list(
    running: Running, retrieval: str
) -> None:
    async with running(retrieval=retrieval) as client:
        everything = await listed(client)
        for categories, expected in (
            ({"any": ["Shelf 1", "nobody's"]}, ON_SHELF_1),
            ({"all": ["Drama", "Shelf 1"]}, ON_SHELF_1),
            ({"none": ["Drama"]}, {"i39"}),
            ({"any": ["nobody's"]}, set()),
        ):
            found = await listed(client, categories=categories)
            assert found == [item_id for item_id in everything if item_id in expected]
            three = await listed(client, categories=categories, k=3)
            assert three == found[:3]


async def test_candidates_are_all_there_is_to_choose_from(client: httpx.AsyncClient) -> None:
    everything = await listed(client)
    candidates = ["i5", "i0", "i7", "nobody's", 8]
    found = await listed(client, candidate_items=candidates)
    assert found == [item_id for item_id in everything if item_id in {"i5", "i7"}]
    assert await listed(client, candidate_items=[]) == []
    answer = await client.post(
        "/recommend", json={"history": ["i0"], "candidate_items": candidates, "k": 1}
    )
    assert answer.json()["unknown_items"] == ["nobody's", "8"]


async def test_the_fallback_stays_within_the_filter(client: httpx.AsyncClient) -> None:
    wish = {"history": [], "categories": {"any": ["Shelf 1"]}, "k": 4}
    answer = (await client.post("/recommend", json=wish)).json()
    assert answer["source"] == "popularity"
    assert answer["reason"] == "empty_history"
    assert [item["item_id"] for item in answer["items"]] == ["i1", "i4", "i7", "i10"]


async def test_a_known_user_filters_by_parameters(client: httpx.AsyncClient) -> None:
    await client.post("/recommend", json={"history": ["i0"], "user_id": "u"})
    wish = "categories_any=Shelf 1&categories_none=Shelf 2&k=40"
    answer = await client.get(f"/users/u/recommendations?{wish}")
    found = [item["item_id"] for item in answer.json()["items"]]
    assert found == await listed(client, categories={"any": ["Shelf 1"]})


@pytest.mark.parametrize(
    ("categories", "pointer"),
    [
        ({"any": "Drama"}, "/categories/any"),
        ({"any": [1]}, "/categories/any/0"),
        ({"some": []}, "/categories/some"),
        ({"all": ["x" * 257]}, "/categories/all/0"),
        ({"none": ["x"] * 101}, "/categories/none"),
    ],
)
async def test_a_wrong_filter_is_named(
    client: httpx.AsyncClient, categories: object, pointer: str
) -> None:
    answer = await client.post("/recommend", json={"history": ["i0"], "categories": categories})
    assert answer.status_code == 422
    assert pointer in {error["pointer"] for error in answer.json()["errors"]}


async def test_what_becomes_unavailable_is_hidden_from_the_next_list(
    running: Running, tmp_path: Path
) -> None:
    path = tmp_path / "unavailable.txt"
    async with running(unavailable_file=path) as client:
        everything = await listed(client)
        path.write_text("\n".join([everything[0], "nobody's"]))
        assert await listed(client) == everything[1:]
        assert await listed(client, candidate_items=everything[:2]) == [everything[1]]
        fallback = await listed(client, history=[])
        assert everything[0] not in fallback
        path.unlink()
        assert await listed(client) == everything
