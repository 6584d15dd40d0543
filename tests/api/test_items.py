"""GET /items/{item_id}/similar: what is like an item."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch

from service import checkpoint
from service.catalog import Catalog

Running = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


def brute_force(model_dir: Path, item_index: int) -> list[str]:
    model = checkpoint.load(model_dir, torch.device("cpu")).model
    vectors_IH = model.item_vectors_IH.detach().double().numpy()
    unit_IH = vectors_IH / np.linalg.norm(vectors_IH, axis=1, keepdims=True)
    cosine_I = unit_IH @ unit_IH[item_index]
    order_I = np.argsort(-cosine_I, kind="stable")
    return [f"i{index}" for index in order_I if index != item_index]


def ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [item["item_id"] for item in answer.json()["items"]]


async def test_neighbours_are_those_of_brute_force(
    client: httpx.AsyncClient, model_dir: Path
) -> None:
    answer = await client.get("/items/i3/similar", params={"k": 7})
    assert ids(answer) == brute_force(model_dir, 3)[:7]
    content = answer.json()
    assert content["measure"] == "cosine"
    assert content["model"]["name"] == "films"
    assert content["items"][0]["title"].startswith("Film")
    scores = [item["score"] for item in content["items"]]
    assert scores == sorted(scores, reverse=True)
    assert all(-1 <= score <= 1 for score in scores)


async def test_a_list_ends_with_the_catalogue(client: httpx.AsyncClient) -> None:
    answer = await client.get("/items/i0/similar", params={"k": 100})
    assert sorted(ids(answer)) == sorted(f"i{index}" for index in range(1, 40))
    assert [item for item in answer.json()["items"] if "title" not in item] == [
        item for item in answer.json()["items"] if item["item_id"] == "i39"
    ]


async def test_categories_are_chosen_before_the_best_are(
    client: httpx.AsyncClient, model_dir: Path
) -> None:
    expected = [item for item in brute_force(model_dir, 3) if item != "i39"]
    on_shelf = [item for item in expected if int(item[1:]) % 3 == 1]
    for name in ("categories_any", "categories_all"):
        answer = await client.get("/items/i3/similar", params={"k": 5, name: "Shelf 1"})
        assert ids(answer) == on_shelf[:5]
    answer = await client.get("/items/i3/similar", params={"k": 9, "categories_none": "Drama"})
    assert ids(answer) == ["i39"]


async def test_what_is_unavailable_is_like_nothing(running: Running, tmp_path: Path) -> None:
    hidden = tmp_path / "unavailable"
    hidden.write_text("i1\ni2\n")
    async with running(unavailable_file=hidden) as client:
        assert not {"i1", "i2"} & set(ids(await client.get("/items/i3/similar?k=100")))
        # What cannot be had may still be asked about.
        assert len(ids(await client.get("/items/i1/similar?k=100"))) == 38


@pytest.mark.parametrize(
    ("path", "status", "kind"),
    [
        ("/items/nothing/similar", 404, "unknown-item"),
        ("/items/a/b/similar", 404, "unknown-item"),
        ("/items/i1/similar?model=other", 404, "unknown-model"),
        ("/items/i1/similar?k=0", 422, "invalid-fields"),
        ("/items/i1/similar?k=101", 422, "too-many-results"),
        ("/items/i1/similar?q=1", 422, "invalid-fields"),
        (f"/items/{'x' * 1025}/similar", 422, "invalid-fields"),
    ],
)
async def test_what_cannot_be_answered_says_why(
    client: httpx.AsyncClient, path: str, status: int, kind: str
) -> None:
    answer = await client.get(path)
    assert answer.status_code == status
    assert answer.json()["type"] == f"/problems/{kind}"


async def test_an_id_may_have_any_letters(
    running: Running, write_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    item_ids = ("a/b", "a/b/similar", "ü?#", "..", "c")
    catalog = Catalog(item_ids, ("",) * 5, ((),) * 5, np.arange(5))
    write_bundle(tmp_path, catalog, name="odd")
    async with running(model_dir=tmp_path) as client:
        for path, own in [
            ("a/b", "a/b"),
            ("a%2Fb", "a/b"),
            ("a/b/similar", "a/b/similar"),
            ("%C3%BC%3F%23", "ü?#"),
        ]:
            found = ids(await client.get(f"/items/{path}/similar"))
            assert sorted(found) == sorted(set(item_ids) - {own})


@pytest.mark.parametrize("architecture", ["ease", "edlae", "hybrid", "cdae", "autorec-item"])
async def test_every_kind_of_model_knows_similar_items(
    running: Running, write_bundle: Callable[..., Path], tmp_path: Path, architecture: str
) -> None:
    fields: dict[str, Any] = {"name": architecture}
    write_bundle(tmp_path, 30, architecture, **fields)
    async with running(model_dir=tmp_path) as client:
        answer = await client.get("/items/i3/similar", params={"k": 5})
        found = ids(answer)
        assert len(found) == 5
        assert "i3" not in found
        measure = "weight" if architecture in ("ease", "edlae") else "cosine"
        assert answer.json()["measure"] == measure
