"""Steering by the dimensions of the latent: over HTTP, as by hand."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch

from service import checkpoint
from service.histories import History, HistoryBatch

Running = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]
HISTORY = ["i3", "i7", "i12"]


async def answered(client: httpx.AsyncClient, **request: Any) -> dict[str, Any]:  # noqa: ANN401 - a body
    answer = await client.post("/recommend", json={"history": HISTORY, "k": 10} | request)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def decoded(model_dir: Path, moves: dict[int, float]) -> list[tuple[str, float]]:
    """Encode, move and decode without the service; seen items out, ties to the smaller index."""
    model = checkpoint.load(model_dir, torch.device("cpu")).model
    seen = [int(item[1:]) for item in HISTORY]
    with torch.inference_mode():
        latents_BD = model.encode(HistoryBatch.from_rows([History.of(seen)]))
        for dimension, offset in moves.items():
            latents_BD[:, dimension] += offset
        query_BH = model.queries(latents_BD).double()
        score_I = (query_BH @ model.item_vectors_IH.double().T + model.item_bias_I)[0].numpy()
    score_I[seen] = -np.inf
    best = np.argsort(-score_I, kind="stable")[:10]
    return [(f"i{item}", score_I[item]) for item in best]


@pytest.mark.parametrize("moves", [{}, {2: 1.5}, {0: -3.0, 3: 2.5}])
async def test_a_steered_list_is_that_of_the_moved_latent(
    client: httpx.AsyncClient, model_dir: Path, moves: dict[int, float]
) -> None:
    body = await answered(client, steer={str(key): value for key, value in moves.items()})
    expected = decoded(model_dir, moves)
    assert [item["item_id"] for item in body["items"]] == [item_id for item_id, _ in expected]
    scores = [item["score"] for item in body["items"]]
    assert scores == pytest.approx([score for _, score in expected], rel=1e-5)


async def test_zero_changes_nothing_bit_for_bit_and_moves_something(
    client: httpx.AsyncClient,
) -> None:
    plain = await answered(client)
    assert (await answered(client, steer={"0": 0, "1": -0.0}))["items"] == plain["items"]
    assert (await answered(client, steer={"0": 4}))["items"] != plain["items"]


async def test_a_kept_user_is_steered_and_kept_as_they_were(client: httpx.AsyncClient) -> None:
    steered = await answered(client, user_id="u", steer={"1": 2.5, "2": -1})
    path = "/users/u/recommendations?k=10"
    kept = (await client.get(f"{path}&steer=1:2.5&steer=2:-1")).json()
    assert kept["cache"] == "hit"
    assert kept["items"] == steered["items"]
    later = (await client.get(path)).json()
    assert later["items"] == (await answered(client))["items"]


async def test_rows_of_a_batch_are_steered_as_single_requests_are(
    client: httpx.AsyncClient,
) -> None:
    rows = [{"history": HISTORY, "k": 10, "steer": steer} for steer in ({"0": 2}, {}, {"3": -1.5})]
    answer = await client.post("/recommend/batch", json={"requests": rows})
    lists = [result["items"] for result in answer.json()["results"]]
    assert lists == [(await answered(client, **row))["items"] for row in rows]
    assert lists[0] != lists[1] != lists[2]


async def test_of_a_move_that_comes_twice_the_last_counts(client: httpx.AsyncClient) -> None:
    await answered(client, user_id="u")
    path = "/users/u/recommendations?k=10&steer=1:"
    twice = await client.get(f"{path}3&steer=1:-2")
    assert twice.json()["items"] == (await client.get(f"{path}-2")).json()["items"]


@pytest.mark.parametrize(
    ("steer", "kind", "pointer"),
    [
        ({"4": 1}, "unsupported-control", "/steer"),
        ({"0": 11}, "invalid-fields", "/steer/0"),
        ({"0": "1"}, "invalid-fields", "/steer/0"),
        ({"first": 1}, "invalid-fields", "/steer"),
        ({"01": 1}, "invalid-fields", "/steer"),
        ({"-1": 1}, "invalid-fields", "/steer"),
        ({str(number): 1 for number in range(101)}, "invalid-fields", "/steer"),
        ([1], "invalid-fields", "/steer"),
    ],
)
async def test_a_wrong_move_is_named(
    client: httpx.AsyncClient,
    steer: Any,  # noqa: ANN401 - anything
    kind: str,
    pointer: str,
) -> None:
    answer = await client.post("/recommend", json={"history": HISTORY, "steer": steer})
    assert answer.status_code == 422
    assert answer.json()["type"] == f"/problems/{kind}"
    assert answer.json()["pointer"] == pointer


@pytest.mark.parametrize("move", ["1", "1:", "1:11", "1:1e1", ":1", "01:1", "1:1:1", "1:nan"])
async def test_a_wrong_parameter_is_named(client: httpx.AsyncClient, move: str) -> None:
    answer = await client.get("/users/u/recommendations", params={"steer": move})
    assert answer.status_code == 422
    assert answer.json()["type"] == "/problems/invalid-fields"
    assert answer.json()["pointer"].startswith("/steer")


async def test_a_model_without_a_posterior_is_not_steered(
    running: Running, write_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    write_bundle(tmp_path, 30, "cdae")
    async with running(model_dir=tmp_path) as client:
        answer = await client.post("/recommend", json={"history": ["i1"], "steer": {"0": 1}})
        assert answer.json()["type"] == "/problems/unsupported-control"
        assert answer.json()["pointer"] == "/steer"
        (card,) = (await client.get("/models")).json()["models"]
        assert card["controls"] == ["popularity_penalty", "explain", "diversity", "dislikes"]


async def test_dimensions_are_told_with_what_they_raise(client: httpx.AsyncClient) -> None:
    body = (await client.get("/models/films/dimensions", params={"limit": 3})).json()
    assert body["model"]["name"] == "films"
    effects = [found["effect"] for found in body["dimensions"]]
    assert len(effects) == 3
    assert effects == sorted(effects, reverse=True)
    for found in body["dimensions"]:
        above, below = found["above"]["items"], found["below"]["items"]
        assert len(above) == len(below) == 3
        assert not {item["item_id"] for item in above} & {item["item_id"] for item in below}
        rank_of = {}
        for offset in (-8, 8):
            steer = {str(found["dimension"]): offset}
            listed = (await answered(client, history=["i39"], k=40, steer=steer))["items"]
            rank_of[offset] = [item["item_id"] for item in listed]
        first = above[0]["item_id"]
        assert rank_of[8].index(first) <= rank_of[-8].index(first)


@pytest.mark.parametrize(
    ("path", "status", "kind"),
    [
        ("/models/other/dimensions", 404, "unknown-model"),
        ("/models/films/dimensions?limit=0", 422, "invalid-fields"),
        ("/models/films/dimensions?k=1", 422, "invalid-fields"),
    ],
)
async def test_dimensions_that_cannot_be_told_say_why(
    client: httpx.AsyncClient, path: str, status: int, kind: str
) -> None:
    answer = await client.get(path)
    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{kind}")


async def test_a_model_without_dimensions_says_so(
    running: Running, write_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    write_bundle(tmp_path, 30, "ease", name="weights")
    async with running(model_dir=tmp_path) as client:
        answer = await client.get("/models/weights/dimensions")
        assert answer.status_code == 422
        assert answer.json()["type"] == "/problems/unsupported-view"
        assert answer.json()["pointer"] == "/model"
