"""What a list should be like: controls, and why an item is on it."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

Running = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]
WriteBundle = Callable[..., Path]
HISTORY = ["i0", "i3", "i7", "i12"]
ALL = 40


async def answered(client: httpx.AsyncClient, **request: Any) -> dict[str, Any]:  # noqa: ANN401 - a body
    answer = await client.post("/recommend", json={"history": HISTORY, "k": 10} | request)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def ids(body: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in body["items"]]


async def test_zeros_change_nothing_bit_for_bit(client: httpx.AsyncClient) -> None:
    zeros = {
        "diversity": 0,
        "popularity_penalty": 0,
        "calibration": 0,
        "exploration": 0,
        "dislikes": [],
        "explain": False,
        "seed": 3,
    }
    plain, zero = await answered(client), await answered(client, **zeros)
    assert zero["items"] == plain["items"]


@pytest.mark.parametrize(
    "control",
    [{"diversity": 0.9}, {"popularity_penalty": 2}, {"calibration": 0.9}, {"dislikes": ["i20"]}],
    ids=lambda control: next(iter(control)),
)
async def test_a_control_changes_the_order_and_keeps_the_scores(
    client: httpx.AsyncClient, control: dict[str, Any]
) -> None:
    everything = await answered(client, k=ALL)
    score_of = {item["item_id"]: item["score"] for item in everything["items"]}
    changed = await answered(client, **control)
    assert len(set(ids(changed))) == 10
    assert ids(changed) != ids(everything)[:10]
    assert not set(ids(changed)) & set(HISTORY)
    for item in changed["items"]:
        assert item["score"] == score_of[item["item_id"]]


async def test_a_disliked_item_never_comes_back(client: httpx.AsyncClient) -> None:
    first = ids(await answered(client))[0]
    body = await answered(client, dislikes=[first, "nobody's"], k=ALL)
    assert first not in ids(body)
    assert body["unknown_items"] == ["nobody's"]


async def test_a_draw_is_repeated_by_its_seed(client: httpx.AsyncClient) -> None:
    plain = await answered(client)
    lists = [ids(await answered(client, exploration=3, seed=seed)) for seed in (1, 2, 1)]
    assert lists[0] == lists[2] != lists[1]
    assert ids(plain) not in lists[:2]
    unseeded = [ids(await answered(client, exploration=3)) for _ in range(4)]
    assert len({tuple(found) for found in unseeded}) > 1


async def test_a_draw_leaves_what_is_kept_of_the_user_alone(client: httpx.AsyncClient) -> None:
    plain = await answered(client)
    await answered(client, user_id="u", exploration=5, seed=1)
    kept = await client.get("/users/u/recommendations?k=10")
    assert kept.json()["cache"] == "hit"
    assert ids(kept.json()) == ids(plain)
    drawn = await client.get("/users/u/recommendations?k=10&exploration=5&seed=1")
    assert ids(drawn.json()) == ids(await answered(client, exploration=5, seed=1))


@pytest.mark.parametrize("architecture", ["multvae", "cdae", "ease", "hybrid"])
async def test_without_its_first_cause_an_item_scores_less(
    running: Running, write_bundle: WriteBundle, tmp_path: Path, architecture: str
) -> None:
    generator = np.random.default_rng(0)
    write_bundle(tmp_path, 30, architecture)
    async with running(model_dir=tmp_path) as client:
        for _ in range(4):
            history = [f"i{item}" for item in generator.choice(30, 6, replace=False)]
            body = await answered(client, history=history, explain=True, k=3, exclude_seen=False)
            for item in body["items"]:
                lifts = [cause["lift"] for cause in item["because"]]
                assert lifts == sorted(lifts, reverse=True)
                assert all(lift > 0 for lift in lifts)
                assert {cause["item_id"] for cause in item["because"]} <= set(history)
                if not lifts:
                    continue
                first = item["because"][0]
                rest = [entry for entry in history if entry != first["item_id"]]
                without = await answered(client, history=rest, k=30, exclude_seen=False)
                score_of = {other["item_id"]: other["score"] for other in without["items"]}
                lost = item["score"] - score_of[item["item_id"]]
                assert lost == pytest.approx(first["lift"], rel=1e-3, abs=1e-5)


async def test_the_fallback_gives_no_causes(client: httpx.AsyncClient) -> None:
    body = await answered(client, history=[], explain=True)
    assert body["source"] == "popularity"
    assert "because" not in body["items"][0]


async def test_a_kept_user_is_explained_too(client: httpx.AsyncClient) -> None:
    await answered(client, user_id="w")
    body = (await client.get("/users/w/recommendations?k=3&explain=true")).json()
    assert body["cache"] == "hit"
    causes = [cause["item_id"] for item in body["items"] for cause in item["because"]]
    assert causes
    assert set(causes) <= set(HISTORY)


@pytest.mark.parametrize(
    ("architecture", "control"),
    [
        ("cdae", {"exploration": 1}),
        ("ease", {"exploration": 1}),
        ("ease", {"diversity": 0.5}),
        ("ease", {"dislikes": ["i1"]}),
    ],
)
async def test_a_control_that_the_model_has_nothing_for_is_named(
    running: Running,
    write_bundle: WriteBundle,
    tmp_path: Path,
    architecture: str,
    control: dict[str, Any],
) -> None:
    write_bundle(tmp_path, 30, architecture)
    async with running(model_dir=tmp_path) as client:
        answer = await client.post("/recommend", json={"history": ["i1"]} | control)
        assert answer.status_code == 422
        assert answer.json()["type"] == "/problems/unsupported-control"
        assert answer.json()["pointer"] == f"/{next(iter(control))}"


@pytest.mark.parametrize(
    "control", [{"diversity": 1.1}, {"exploration": -1}, {"seed": -1}, {"popularity_penalty": 11}]
)
async def test_a_control_out_of_its_range_is_named(
    client: httpx.AsyncClient, control: dict[str, Any]
) -> None:
    answer = await client.post("/recommend", json={"history": ["i1"]} | control)
    assert answer.status_code == 422
    assert answer.json()["pointer"] == f"/{next(iter(control))}"


@pytest.mark.parametrize("control", [{"explain": True}, {"diversity": 0.1}, {"exploration": 1}])
async def test_a_refined_list_is_no_longer_than_100(
    running: Running, control: dict[str, Any]
) -> None:
    async with running(max_k=1000) as client:
        body = {"history": ["i1"], "k": 101} | control
        answer = await client.post("/recommend", json=body)
        assert answer.status_code == 422
        assert answer.json()["type"] == "/problems/too-many-results"
        assert (await client.post("/recommend", json=body | {"k": 100})).status_code == 200


async def test_too_many_dislikes_are_refused(client: httpx.AsyncClient) -> None:
    answer = await client.post("/recommend", json={"history": ["i1"], "dislikes": ["i2"] * 101})
    assert answer.status_code == 422
    assert answer.json()["pointer"] == "/dislikes"


async def test_explaining_a_kept_user_changes_no_list(client: httpx.AsyncClient) -> None:
    history = [{"item_id": "i1", "rating": 5, "weight": 50}, "i2", "i3"]
    await answered(client, history=history, user_id="heavy")
    plain = (await client.get("/users/heavy/recommendations?k=10")).json()
    explained = (await client.get("/users/heavy/recommendations?k=10&explain=true")).json()
    assert explained["cache"] == "hit"
    assert ids(explained) == ids(plain)
    assert [item["score"] for item in explained["items"]] == pytest.approx(
        [item["score"] for item in plain["items"]]
    )
