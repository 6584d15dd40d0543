"""Several models at once: asked for by name, dealt out to users, or tried behind the answer."""

import asyncio
import json
import logging
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.errors import OverloadedError, SettingsError
from service.recommendation import Query
from service.recommender import Recommender
from service.settings import Settings
from service.split import Split
from service.telemetry import JsonFormatter

Running = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]
HISTORY = ["i3", "i5", "i8"]


@pytest.fixture(scope="session")
def models_dir(write_bundle: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("several")
    write_bundle(path / "control", 40, "multvae", name="films", seed=1)
    write_bundle(path / "rival", 40, "recvae", name="films", seed=2)
    write_bundle(path / "small", 15, "ease", seed=3)
    return path


@pytest.fixture
async def client(running: Running, models_dir: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with running(models_dir=models_dir, split="control=1,rival=1") as started:
        yield started


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[str], list[dict[str, Any]]]]:
    """Give the log's lines with a message, as an operator has them."""
    with caplog.at_level(logging.INFO):
        yield lambda message: [
            json.loads(JsonFormatter().format(record))
            for record in caplog.records
            if record.getMessage() == message
        ]


async def ask(client: httpx.AsyncClient, **fields: object) -> dict[str, Any]:
    response = await client.post("/recommend", json={"history": HISTORY, "k": 5} | fields)
    assert response.status_code == httpx.codes.OK, response.text
    answer: dict[str, Any] = response.json()
    return answer


def item_ids(answer: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


async def test_each_model_answers_by_the_name_of_its_folder(client: httpx.AsyncClient) -> None:
    lists = {}
    for model in "control", "rival", "small":
        answer = await ask(client, model=model)
        assert answer["model"]["name"] == model
        assert "variant" not in answer
        lists[model] = item_ids(answer)
    assert lists["control"] != lists["rival"]
    assert {int(item_id[1:]) for item_id in lists["small"]} <= set(range(15))
    assert item_ids(await ask(client)) == lists["control"]  # the default one, for lack of a user


async def test_a_name_that_nobody_has_is_answered_with_those_there_are(
    client: httpx.AsyncClient,
) -> None:
    response = await client.post("/recommend", json={"history": HISTORY, "model": "films"})
    assert response.status_code == httpx.codes.NOT_FOUND
    assert "served: control, rival, small" in response.json()["detail"]


async def test_users_are_dealt_out_and_keep_to_their_variant(
    client: httpx.AsyncClient, lines: Callable[[str], list[dict[str, Any]]]
) -> None:
    split = Split.parse("control=1,rival=1")
    users = [f"u{number}" for number in range(12)]
    answers = {user: await ask(client, user_id=user) for user in users}
    for user, answer in answers.items():
        assert answer["variant"] == answer["model"]["name"] == split.arm(user)
        kept = (await client.get(f"/users/{user}/recommendations", params={"k": 5})).json()
        assert (kept["variant"], kept["cache"]) == (split.arm(user), "hit")
        assert item_ids(kept) == item_ids(answer)
        event = {"events": [{"item_id": "i1"}]}
        added = (await client.post(f"/users/{user}/interactions", json=event)).json()
        assert added["model"]["name"] == split.arm(user)
    shares = Counter(answer["variant"] for answer in answers.values())
    metrics = (await client.get("/metrics")).text
    for variant, count in shares.items():
        line = f'foldin_variant_lists_total{{source="model",variant="{variant}"}} {2 * count}.0'
        assert line in metrics
    logged = {line["recommendation_id"]: line for line in lines("request") if "variant" in line}
    for answer in answers.values():
        noted = logged[answer["recommendation_id"]]
        assert (noted["variant"], noted["model"]) == (answer["variant"], answer["model"]["name"])
        assert noted["version"] == answer["model"]["version"]


async def test_rows_of_a_batch_are_dealt_out_too(client: httpx.AsyncClient) -> None:
    users = [f"u{number}" for number in range(12)]
    rows = [{"history": HISTORY, "user_id": user, "k": 5} for user in users]
    results = (await client.post("/recommend/batch", json={"requests": rows})).json()["results"]
    for user, row in zip(users, results, strict=True):
        alone = await ask(client, user_id=user)
        assert (row["variant"], item_ids(row)) == (alone["variant"], item_ids(alone))


@pytest.mark.parametrize("media_type", ["application/json", "application/x-ndjson"])
async def test_rows_of_a_batch_have_lines_of_their_own_where_the_log_is_to_have_everything(
    client: httpx.AsyncClient,
    lines: Callable[[str], list[dict[str, Any]]],
    caplog: pytest.LogCaptureFixture,
    media_type: str,
) -> None:
    rows = [{"history": HISTORY, "user_id": user} for user in ("u1", "u2")]
    wrong = {"history": HISTORY, "k": 0}
    texts = [json.dumps(row) for row in (*rows, wrong)]
    streams = media_type.endswith("ndjson")
    body = "\n".join(texts) if streams else f'{{"requests": [{",".join(texts)}]}}'
    headers = {"content-type": media_type}
    await client.post("/recommend/batch", content=body, headers=headers)
    assert lines("row") == []
    with caplog.at_level(logging.DEBUG):
        answer = await client.post("/recommend/batch", content=body, headers=headers)
    documents = [json.loads(line) for line in answer.text.splitlines()]
    *answers, problem = documents if streams else documents[0]["results"]
    assert problem["status"] == httpx.codes.UNPROCESSABLE_ENTITY
    for line, row in zip(lines("row"), answers, strict=True):
        assert line["request_id"] == answer.headers["x-request-id"]
        assert line["recommendation_id"] == row["recommendation_id"]
        assert (line["variant"], line["model"]) == (row["variant"], row["model"]["name"])


async def test_the_cards_of_models_tell_their_part(client: httpx.AsyncClient) -> None:
    cards = (await client.get("/models")).json()["models"]
    parts = {card["name"]: (card["split_share"], card["is_shadow"]) for card in cards}
    assert parts == {"control": (0.5, False), "rival": (0.5, False), "small": (0, False)}
    assert cards[0]["name"] == "control"


async def test_one_model_is_exchanged_and_the_others_stay(
    running: Running, write_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    for name in "one", "two":
        write_bundle(tmp_path / name, 40, seed=1)
    async with running(models_dir=tmp_path, admin_keys_sha256="0" * 64) as client:
        state = client._transport.app.state.service  # type: ignore[attr-defined]  # of ASGITransport
        before = await versions(client)
        write_bundle(tmp_path / "two", 40, seed=2)
        assert await state.ready.reloader("two").reload() == "swapped"
        after = await versions(client)
        assert after["one"] == before["one"]
        assert after["two"] != before["two"]
        metrics = (await client.get("/metrics")).text
    shown = re.findall(
        r'^foldin_model_info\{.*name="(\w+)".*version="(.*)"\} 1', metrics, re.MULTILINE
    )
    assert dict(shown) == after
    assert len(shown) == 2


async def versions(client: httpx.AsyncClient) -> dict[str, str]:
    cards = (await client.get("/models")).json()["models"]
    return {card["name"]: card["version"] for card in cards}


async def test_a_shadow_makes_the_list_that_the_model_would_have_made(
    running: Running, models_dir: Path, lines: Callable[[str], list[dict[str, Any]]]
) -> None:
    async with running(models_dir=models_dir, shadow="rival,small") as client:
        answer = await ask(client, user_id="u1")
        seen = {line["shadow"]: line for line in await until(lambda: lines("shadow"), 2)}
        for model in "rival", "small":
            line = seen[model]
            assert line["recommendation_id"] == answer["recommendation_id"]
            assert line["model"] == answer["model"]["name"] == "control"
            would_be = item_ids(await ask(client, model=model))
            assert line["shadow_items"] == would_be
            assert line["overlap"] == len({*would_be} & {*item_ids(answer)}) / 5
        metrics = (await client.get("/metrics")).text
        assert 'foldin_shadow_lists_total{model="rival",outcome="made"}' in metrics
        assert 'foldin_shadow_overlap_count{model="small"}' in metrics
        cards = (await client.get("/models")).json()["models"]
        assert {card["name"] for card in cards if card["is_shadow"]} == {"rival", "small"}


async def test_a_shadow_keeps_nothing_of_the_user(running: Running, models_dir: Path) -> None:
    async with running(models_dir=models_dir, shadow="rival") as client:
        await ask(client, user_id="u1")
        await until(lambda: made(client), 1)
        kept = (await client.get("/users/u1/recommendations", params={"model": "rival"})).json()
        assert kept["cache"] == "miss"


async def test_what_only_another_model_knows_is_kept_for_it(
    running: Running, models_dir: Path
) -> None:
    async with running(models_dir=models_dir, default_model="small") as client:
        events = {"events": [{"item_id": item_id} for item_id in ["i3", "i30", "i31", "gone"]]}
        added = (await client.post("/users/a/interactions", json=events)).json()
        assert (added["count"], added["unknown_items"]) == (3, ["i30", "i31", "gone"])
        await client.post(
            "/recommend", json={"user_id": "b", "history": ["i3", "i30", "i31", "gone"]}
        )
        whole = await ask(client, history=["i3", "i30", "i31"], model="control")
        for user in "a", "b":
            parameters = {"k": "5", "model": "control"}
            kept = (await client.get(f"/users/{user}/recommendations", params=parameters)).json()
            assert kept["items"] == whole["items"]


async def test_a_history_that_the_answering_model_knows_nothing_of_is_kept_for_the_others(
    running: Running, models_dir: Path
) -> None:
    async with running(models_dir=models_dir) as client:
        await ask(client, user_id="u")
        answer = await ask(client, user_id="u", history=["i30", "i31"], model="small")
        assert (answer["reason"], answer["unknown_items"]) == ("no_known_items", ["i30", "i31"])
        path = "/users/u/recommendations?k=5&on_unknown=error"
        kept = (await client.get(f"{path}&model=control")).json()
        whole = await ask(client, history=["i30", "i31"], model="control")
        assert (kept["source"], kept["items"]) == ("model", whole["items"])
        # What is unknown of a kept history is no fault of the request.
        kept = (await client.get(f"{path}&model=small")).json()
        assert (kept["reason"], kept["unknown_items"]) == ("no_known_items", [])


@pytest.mark.parametrize("error", [RuntimeError("a bug"), OverloadedError(1)])
async def test_a_shadow_that_breaks_takes_no_other_with_it(
    running: Running, models_dir: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    preview = Recommender.preview

    async def breaks(self: Recommender, query: Query, model: str) -> list[str] | None:
        if model == "rival":
            raise error
        return await preview(self, query, model)

    monkeypatch.setattr(Recommender, "preview", breaks)
    async with running(models_dir=models_dir, shadow="rival,small") as client:
        await ask(client)
        await until(lambda: counted(client, "failed"), 1)
        await until(lambda: made(client), 1)


async def test_an_answer_does_not_wait_for_its_shadow(
    running: Running, models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = asyncio.Event()

    async def preview(*_: object) -> None:
        await waits.wait()

    monkeypatch.setattr(Recommender, "preview", preview)
    async with running(models_dir=models_dir, shadow="rival") as client:
        async with asyncio.timeout(20):
            for _ in range(70):  # more than may wait
                await ask(client)
        metrics = (await client.get("/metrics")).text
        assert 'foldin_shadow_lists_total{model="rival",outcome="skipped"} 6.0' in metrics
        waits.set()


async def test_a_shadow_that_cannot_be_is_counted_and_the_answer_stands(
    running: Running, models_dir: Path
) -> None:
    async with running(models_dir=models_dir, shadow="small") as client:
        # ease has no vectors of items, and so nothing to be diverse about.
        assert len(item_ids(await ask(client, diversity=0.5))) == 5
        await until(lambda: counted(client, "unsupported"), 1)
        # small does not know these, and would answer with what is popular.
        assert len(item_ids(await ask(client, history=["i30", "i31"]))) == 5
        await until(lambda: counted(client, "no_list"), 1)


async def test_a_caller_who_is_strict_about_ids_makes_no_shadow_fail(
    running: Running, models_dir: Path
) -> None:
    async with running(models_dir=models_dir, shadow="small") as client:
        # small knows one of them, and would have refused the request as the caller wants.
        assert len(item_ids(await ask(client, history=["i3", "i30"], on_unknown="error"))) == 5
        (line,) = await until(lambda: counted(client, "no_list"), 1)
        assert line.endswith(" 1.0")
        assert await counted(client, "failed") == []


async def test_a_share_of_lists_is_followed(running: Running, models_dir: Path) -> None:
    async with running(models_dir=models_dir, shadow="rival", shadow_share=0) as client:
        await ask(client)
        assert "foldin_shadow_lists_total{" not in (await client.get("/metrics")).text


async def test_no_shadow_is_cast_by_a_batch_by_the_fallback_or_on_itself(
    running: Running, models_dir: Path, lines: Callable[[str], list[dict[str, Any]]]
) -> None:
    async with running(models_dir=models_dir, shadow="rival") as client:
        rows = {"requests": [{"history": HISTORY}]}
        await client.post("/recommend/batch", json=rows)
        await ask(client, history=[])
        await ask(client, model="rival")
        assert "foldin_shadow_lists_total{" not in (await client.get("/metrics")).text
    assert not lines("shadow")


def test_a_split_that_is_none_is_named_with_its_setting(
    settings: Callable[..., Settings], models_dir: Path
) -> None:
    with pytest.raises(SettingsError, match="FOLDIN_SPLIT: 'control' is no arm of a split"):
        settings(models_dir=models_dir, split="control")


async def made(client: httpx.AsyncClient) -> list[str]:
    return await counted(client, "made")


async def counted(client: httpx.AsyncClient, outcome: str) -> list[str]:
    metrics = (await client.get("/metrics")).text
    return re.findall(rf'^foldin_shadow_lists_total\{{.*"{outcome}"\}} .*$', metrics, re.MULTILINE)


async def until(look: Callable[[], Any], count: int) -> list[Any]:
    for _ in range(2000):
        found = look()
        if isinstance(found, Awaitable):
            found = await found
        if len(found) >= count:
            return list(found)
        await asyncio.sleep(0.005)
    pytest.fail("nothing came of it in 10 s")
