import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import final

import numpy as np
import pytest
import torch

from service.deployment import Deployment, Loader
from service.errors import (
    HistoryTooLongError,
    LatentStoreError,
    OverloadedError,
    RecordRefusedError,
    StoreUnavailableError,
    UnknownItemsError,
    UnknownModelError,
)
from service.evidence import Evidence
from service.fleet import Fleet
from service.inference.batcher import Batcher
from service.latents.kept_history import Event, KeptHistory
from service.latents.memory_store import MemoryStore
from service.latents.store import UserRecord
from service.limits import Limits
from service.recommendation import PostedHistory, Query, Recommendation
from service.recommender import Recommender
from service.telemetry import Telemetry
from service.users import Users

TinyBundle = Callable[..., Path]
NUM_ITEMS = 30


@final
class FailingStore:
    """A memory store whose operations fail when they are told to."""

    name = "failing"

    def __init__(self) -> None:
        self.kept = MemoryStore(100, 60, time.monotonic)
        self.failures: dict[str, Exception] = {}
        self.after_append: Callable[[], object] = lambda: None

    def _ask(self, operation: str) -> None:
        if operation in self.failures:
            raise self.failures[operation]

    async def get(self, user_id: str, model_digest: str) -> UserRecord | None:
        return await self.kept.get(user_id, model_digest)

    async def put(self, record: UserRecord) -> None:
        self._ask("put")
        await self.kept.put(record)

    async def history(self, user_id: str) -> KeptHistory:
        self._ask("history")
        return await self.kept.history(user_id)

    async def append(self, user_id: str, events: Sequence[Event], limit: int) -> KeptHistory:
        self._ask("append")
        grown = await self.kept.append(user_id, events, limit)
        self.after_append()
        return grown

    async def forget(self, user_id: str) -> None:
        self._ask("forget")
        await self.kept.forget(user_id)

    async def ping(self) -> None:
        await self.kept.ping()

    async def close(self) -> None:
        await self.kept.close()


class Bench:
    """The use case with its parts at hand."""

    def __init__(self, model_dir: Path) -> None:
        self.telemetry = Telemetry()
        self.store = FailingStore()
        deployment = Deployment.open(model_dir, Loader(torch.device("cpu"), self.telemetry))
        self.batcher = Batcher(8, 100, 60.0, self.telemetry, lambda: 0.0)
        limits = Limits(max_history=5, max_k=50)
        self.recommender = Recommender(
            Fleet.of_one(deployment), self.batcher, self.store, self.telemetry, limits
        )
        self.users = Users(self.recommender)

    async def list_of(self, user_id: str) -> Recommendation:
        return await self.recommender.recommend(Query(None, user_id, 5))

    async def posted(self, *item_ids: str) -> Recommendation:
        return await self.recommender.recommend(Query(PostedHistory(item_ids), None, 5))

    async def kept(self, user_id: str) -> tuple[str, ...]:
        return (await self.store.history(user_id)).entries.item_ids

    def count(self, name: str, **labels: str) -> float:
        return self.telemetry._registry.get_sample_value(name, labels) or 0.0

    def fill_queue(self) -> None:
        self.batcher._max_queue = 0


@asynccontextmanager
async def running(model_dir: Path) -> AsyncIterator[Bench]:
    bench = Bench(model_dir)
    bench.batcher.start()
    yield bench
    await bench.batcher.close()


@pytest.fixture
async def bench(write_bundle: TinyBundle, tmp_path: Path) -> AsyncIterator[Bench]:
    write_bundle(tmp_path, NUM_ITEMS)
    async with running(tmp_path) as bench:
        yield bench


def events(*item_ids: str) -> list[Event]:
    return [Event(item_id) for item_id in item_ids]


def assert_the_same(one: Recommendation, other: Recommendation) -> None:
    assert one.top.item_index_K.tolist() == other.top.item_index_K.tolist()
    assert one.top.score_K.tolist() == other.top.score_K.tolist()


async def test_events_are_kept_and_encoded(bench: Bench) -> None:
    user = await bench.users.append("anna", events("i1", "nope", "i2"))
    assert (user.num_entries, user.unknown_items, user.cache) == (2, ("nope",), "hit")
    found = await bench.list_of("anna")
    assert found.cache == "hit"
    assert_the_same(found, await bench.posted("i1", "i2"))
    assert bench.count("foldin_recommendations_total", source="model", reason="") == 2


async def test_wrong_requests_keep_nothing(bench: Bench) -> None:
    with pytest.raises(HistoryTooLongError, match="events has 6"):
        await bench.users.append("anna", events(*["i1"] * 6))
    with pytest.raises(UnknownItemsError):
        await bench.users.append("anna", events("i1", "nope"), strict=True)
    with pytest.raises(UnknownModelError):
        await bench.users.append("anna", events("i1"), model="none")
    assert await bench.kept("anna") == ()


async def test_at_capacity_nothing_is_kept_so_that_all_can_be_sent_again(bench: Bench) -> None:
    bench.fill_queue()
    with pytest.raises(OverloadedError):
        await bench.users.append("anna", events("i1"))
    assert await bench.kept("anna") == ()


async def test_what_is_kept_but_could_not_be_encoded_is_encoded_by_the_next_list(
    bench: Bench,
) -> None:
    bench.store.after_append = bench.fill_queue
    assert (await bench.users.append("anna", events("i1"))).cache == "miss"
    bench.batcher._max_queue = 100
    bench.store.after_append = lambda: None
    bench.store.failures["put"] = LatentStoreError("full")
    assert (await bench.users.append("anna", events("i2"))).cache == "miss"
    del bench.store.failures["put"]
    assert await bench.kept("anna") == ("i1", "i2")
    expected = await bench.posted("i1", "i2")
    for cache in "miss", "hit":
        found = await bench.list_of("anna")
        assert (found.cache, found.source) == (cache, "model")
        assert_the_same(found, expected)


async def test_a_list_that_is_made_while_events_come_is_not_kept_for_after_them(
    bench: Bench,
) -> None:
    served = bench.recommender.fleet.served(None)
    latent_D = np.zeros(4, dtype=np.float32)
    history = await bench.store.append("anna", events("i1"), 5)
    before = Evidence.remembered(history, served).record("anna", served.digest, latent_D)
    await bench.users.append("anna", events("i2"))
    await bench.store.put(before)
    assert_the_same(await bench.list_of("anna"), await bench.posted("i1", "i2"))


async def test_a_store_that_cannot_take_events_or_forget_is_an_error_and_counted(
    bench: Bench,
) -> None:
    for operation in "append", "forget":
        bench.store.failures[operation] = LatentStoreError("away")
    with pytest.raises(StoreUnavailableError):
        await bench.users.append("anna", events("i1", "i2"))
    with pytest.raises(StoreUnavailableError):
        await bench.users.forget("anna")
    assert bench.count("foldin_events_total", outcome="lost") == 2
    bench.store.failures["append"] = RecordRefusedError("damaged", "no history")
    with pytest.raises(StoreUnavailableError):
        await bench.users.append("anna", events("i1"))
    assert bench.count("foldin_records_refused_total", reason="damaged") == 1


async def test_a_history_that_cannot_be_read_is_an_error_of_the_store(bench: Bench) -> None:
    bench.store.failures["history"] = RecordRefusedError("user", "another user's")
    found = await bench.list_of("anna")
    assert (found.cache, found.reason) == ("error", "unknown_user")
    assert bench.count("foldin_records_refused_total", reason="user") == 1


async def test_a_forgotten_user_is_unknown_and_may_come_back(bench: Bench) -> None:
    await bench.users.append("anna", events("i1"))
    await bench.users.forget("anna")
    await bench.users.forget("anna")
    assert (await bench.list_of("anna")).reason == "unknown_user"
    assert (await bench.users.append("anna", events("i2"))).num_entries == 1


@pytest.mark.parametrize("architecture", ["ease", "cdae", "autorec-user"])
async def test_every_kind_of_model_reads_a_kept_history_as_a_posted_one(
    write_bundle: TinyBundle, tmp_path: Path, architecture: str
) -> None:
    write_bundle(tmp_path, NUM_ITEMS, architecture)
    async with running(tmp_path) as bench:
        sent = [Event("i1", 4.0, 2.0), Event("i2", 2.0), Event("i3", None, 0.5)]
        await bench.users.append("anna", sent)
        columns = PostedHistory(("i1", "i2", "i3"), (4.0, 2.0, None), (2.0, 1.0, 0.5))
        expected = await bench.recommender.recommend(Query(columns, None, 5))
        assert_the_same(await bench.list_of("anna"), expected)
