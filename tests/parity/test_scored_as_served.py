"""The list that a batch writes for a user is the list that the service answers, through HTTP."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import polars as pl
import pytest

from service.app import create_app
from service.checkpoint import resolve
from service.settings import Settings
from training.scoring.engine import score_here
from training.scoring.plan import ScoringPlan
from training.scoring.run import Users, score_users

NUM_ITEMS = 400
NUM_USERS = 120
K = 20
SHOWN = ("source", "reason", "unknown_items")


class Silent:
    def on_read(self, users: int) -> None: ...

    def on_scoring(self) -> None: ...

    def on_scored(self, users: int, of_users: int) -> None: ...


def drawn_histories() -> dict[str, list[dict[str, Any]]]:
    """Entries with ratings, weights, twins and strangers; some users have none that counts."""
    generator = np.random.default_rng(3)
    histories: dict[str, list[dict[str, Any]]] = {"nobody": [], "low": [entry("i1", 1.0)]}
    histories["stranger"] = [entry("of another shop")]
    for user in range(NUM_USERS):
        items = generator.choice(NUM_ITEMS, generator.integers(1, 40))
        histories[f"u{user}"] = [
            entry(
                f"i{item}" if generator.random() < 0.95 else f"gone{item}",
                float(generator.integers(1, 6)) if generator.random() < 0.7 else None,
                float(generator.choice([0.5, 1.0, 2.0])),
            )
            for item in (*items, *items[:2])
        ]
    return histories


def entry(item_id: str, rating: float | None = None, weight: float = 1.0) -> dict[str, Any]:
    return {"item_id": item_id, "rating": rating, "weight": weight}


@pytest.fixture(
    scope="module",
    params=["multvae 4", "multvae", "cdae 4", "ease 3", "autorec-user"],
)
def model_dir(
    request: pytest.FixtureRequest,
    write_bundle: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    architecture, _, stars = request.param.partition(" ")
    threshold = float(stars) if stars else None
    folder = tmp_path_factory.mktemp("models")
    users = [f"u{user}" for user in range(0, NUM_USERS, 2)] if architecture == "cdae" else []
    write_bundle(folder, NUM_ITEMS, architecture, user_ids=users, positive_threshold=threshold)
    return folder


@pytest.fixture
async def client(model_dir: Path) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(Settings(model_dir=model_dir))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://foldin") as client,
    ):
        for _ in range(1000):
            if (await client.get("/readyz")).status_code == httpx.codes.OK:
                break
            await asyncio.sleep(0.02)
        yield client


async def test_a_batch_writes_what_the_service_answers(
    client: httpx.AsyncClient, model_dir: Path, tmp_path: Path
) -> None:
    histories = drawn_histories()
    lines = [{"user_id": user, "history": history} for user, history in histories.items()]
    (tmp_path / "users.jsonl").write_bytes(b"\n".join(map(orjson.dumps, lines)))
    users = Users(tmp_path / "users.jsonl", tmp_path / "lists.parquet", part_users=50)
    score_users(users, ScoringPlan(resolve(model_dir), k=K, batch_size=32), score_here, Silent())
    lists = pl.read_parquet(tmp_path / "lists.parquet")
    assert lists["user_id"].to_list() == list(histories)
    for row in lists.iter_rows(named=True):
        request = {"user_id": row["user_id"], "history": histories[row["user_id"]], "k": K}
        served = (await client.post("/recommend", json=request)).json()
        assert row["item_ids"] == [item["item_id"] for item in served["items"]]
        scores = [item["score"] for item in served["items"]]
        assert row["scores"] == pytest.approx(scores, rel=1e-5, abs=1e-6)
        assert row["reason"] == (served.get("reason") or None)
        assert (row["source"], row["unknown_items"]) == (served["source"], served["unknown_items"])
    assert lists["source"].value_counts().height == 2
