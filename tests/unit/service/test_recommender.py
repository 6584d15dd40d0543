import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.deployment import Deployment, Loader
from service.errors import (
    EmptyHistoryError,
    HistoryTooLongError,
    LatentStoreError,
    OverloadedError,
    TooManyResultsError,
    UnknownItemsError,
    UnknownModelError,
    UnknownUserError,
)
from service.fleet import Fleet
from service.inference.batcher import Batcher
from service.latents.kept_history import NO_HISTORY, Event, KeptHistory
from service.latents.store import UserRecord
from service.limits import Limits
from service.recommendation import HistoryEntry, PostedHistory, Query, Reason, Recommendation
from service.recommender import Recommender
from service.retrieval.base import Wanted
from service.retrieval.popularity import most_popular
from service.telemetry import Telemetry

NUM_ITEMS = 30
ALL = NUM_ITEMS
TinyBundle = Callable[..., Path]
Answers = Callable[..., list[Recommendation]]


class FakeStore:
    """A store in a dict that notes its calls, and fails when it is told to."""

    name = "fake"

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], UserRecord] = {}
        self.histories: dict[str, KeptHistory] = {}
        self.calls: list[str] = []
        self.broken = False

    def _note(self, call: str) -> None:
        self.calls.append(call)
        if self.broken:
            raise LatentStoreError("broken")

    async def get(self, user_id: str, model_digest: str) -> UserRecord | None:
        self._note("get")
        return self.records.get((user_id, model_digest))

    async def put(self, record: UserRecord) -> None:
        self._note("put")
        self.records = {key: kept for key, kept in self.records.items() if key[0] != record.user_id}
        if record.has_latent:
            self.records[record.user_id, record.model_digest] = record
        self.histories[record.user_id] = record.history

    async def history(self, user_id: str) -> KeptHistory:
        self._note("history")
        return self.histories.get(user_id, NO_HISTORY)

    async def append(self, user_id: str, events: Sequence[Event], limit: int) -> KeptHistory:
        raise NotImplementedError

    async def forget(self, user_id: str) -> None:
        raise NotImplementedError

    async def ping(self) -> None:
        self._note("ping")

    async def close(self) -> None:
        self.calls.append("close")


class Bench:
    """A recommender with its parts at hand."""

    def __init__(self, model_dir: Path) -> None:
        numbers = iter(range(1_000_000))
        self.now_us = 0
        self.telemetry = Telemetry()
        self.store = FakeStore()
        self.fleet = Fleet.of_one(
            Deployment.open(model_dir, Loader(torch.device("cpu"), self.telemetry))
        )
        self.batcher = Batcher(8, 100, 5.0, self.telemetry, lambda: 0.0)
        self.recommender = Recommender(
            self.fleet,
            self.batcher,
            self.store,
            self.telemetry,
            Limits(max_history=40, max_k=50),
            new_id=lambda: f"list-{next(numbers)}",
            now_us=lambda: self.now_us,
        )

    async def ask(self, *history: str | HistoryEntry, **fields: Any) -> Recommendation:  # noqa: ANN401 - of any field of Query
        return await self.recommender.recommend(query(*history, **fields))

    def count(self, name: str, **labels: str) -> float:
        return self.telemetry._registry.get_sample_value(name, labels) or 0.0

    def cached(self, outcome: str) -> float:
        return self.count("foldin_cache_total", outcome=outcome)


def query(*history: str | HistoryEntry, **fields: Any) -> Query:  # noqa: ANN401 - as above
    return Query(**{"history": PostedHistory.of(history), "user_id": None, "k": 5, **fields})


def ids(answer: Recommendation) -> list[str]:
    return [answer.catalog.item_ids[index] for index in answer.top.item_index_K]


def popular(bench: Bench, k: int, hidden: Sequence[int] = ()) -> list[int]:
    catalog = bench.fleet.served(None).catalog
    wanted = Wanted(k, np.array(hidden, dtype=np.int64))
    return [int(index) for index in most_popular(catalog, wanted).item_index_K]


@asynccontextmanager
async def running(model_dir: Path) -> AsyncIterator[Bench]:
    bench = Bench(model_dir)
    bench.batcher.start()
    try:
        yield bench
    finally:
        await bench.batcher.close()


@pytest.fixture
async def bench(tiny_bundle: TinyBundle) -> AsyncIterator[Bench]:
    async with running(tiny_bundle(positive_threshold=4)) as bench:
        yield bench


# --- the model answers ------------------------------------------------------------------------


async def test_a_posted_history_is_answered_by_the_model(bench: Bench) -> None:
    answer = await bench.ask("i3", "i4")
    served = bench.fleet.served(None)
    assert (answer.source, answer.reason, answer.cache) == ("model", "", "bypass")
    assert (answer.model_name, answer.model_version) == ("multvae", served.version)
    assert answer.catalog is served.catalog
    assert answer.unknown_items == ()
    assert len(answer.top.item_index_K) == len(answer.top.score_K) == 5
    assert bench.store.calls == []


async def test_seen_items_come_back_only_on_request(bench: Bench) -> None:
    disliked = HistoryEntry("i5", rating=1)
    hidden = await bench.ask("i3", "i4", disliked, k=ALL)
    assert set(ids(hidden)) == {f"i{n}" for n in range(NUM_ITEMS)} - {"i3", "i4", "i5"}
    shown = await bench.ask("i3", "i4", disliked, k=ALL, exclude_seen=False)
    assert len(ids(shown)) == NUM_ITEMS


async def test_excluded_items_never_come_back(bench: Bench) -> None:
    answer = await bench.ask("i3", k=ALL, exclude_items=("i0", "i1", "i0"), exclude_seen=False)
    assert set(ids(answer)) == {f"i{n}" for n in range(2, NUM_ITEMS)}


async def test_an_entry_that_is_not_liked_is_not_encoded(bench: Bench) -> None:
    with_dislike = await bench.ask("i3", HistoryEntry("i5", rating=3.5), exclude_seen=False)
    without = await bench.ask("i3", exclude_seen=False)
    assert with_dislike.top.score_K.tobytes() == without.top.score_K.tobytes()


async def test_every_list_has_an_id_of_its_own(bench: Bench) -> None:
    answers = [await bench.ask("i3"), await bench.ask()]
    assert [answer.recommendation_id for answer in answers] == ["list-0", "list-1"]
    by_default = Recommender(
        bench.fleet, bench.batcher, bench.store, bench.telemetry, bench.recommender.limits
    )
    drawn = {(await by_default.recommend(query("i3"))).recommendation_id for _ in range(3)}
    assert len(drawn) == 3
    assert {len(recommendation_id) for recommendation_id in drawn} == {32}


async def test_a_bulk_query_waits_in_the_queue_for_bulk(bench: Bench) -> None:
    await bench.batcher.close()
    batcher = Batcher(8, 1, 5.0, bench.telemetry, lambda: 0.0)
    recommender = replace(bench.recommender, batcher=batcher)
    online = asyncio.create_task(recommender.recommend(query("i1")))
    await asyncio.sleep(0)
    bulk = asyncio.create_task(recommender.recommend(query("i2"), bulk=True))
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError):
        await recommender.recommend(query("i3"), bulk=True)
    batcher.start()
    assert (await online).source == (await bulk).source == "model"
    await batcher.close()


# --- ids that the catalogue lacks ---------------------------------------------------------------


async def test_unknown_ids_are_told_in_order_and_once(bench: Bench) -> None:
    answer = await bench.ask("x", "i3", "y", "x", exclude_items=("z", "y", "i4"))
    assert answer.unknown_items == ("x", "y", "z")
    assert answer.source == "model"


async def test_a_strict_query_with_unknown_ids_is_refused_before_anything_runs(
    bench: Bench,
) -> None:
    with pytest.raises(UnknownItemsError) as refusal:
        await bench.ask("x", "i3", exclude_items=("z",), strict=True, user_id="u")
    assert refusal.value.item_ids == ("x", "z")
    with pytest.raises(UnknownItemsError):
        await bench.ask(history=None, user_id="u", exclude_items=("z",), strict=True)
    assert bench.store.calls == []
    assert bench.count("foldin_batch_size_count") == 0
    assert (await bench.ask("i3", exclude_items=("i4",), strict=True)).unknown_items == ()


# --- the fallback -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("history", "reason", "seen"),
    [
        ((), "empty_history", []),
        (("x", "y"), "no_known_items", []),
        ((HistoryEntry("i5", 1), HistoryEntry("i6", 2), "x"), "no_liked_items", [5, 6]),
    ],
)
async def test_a_history_that_cannot_be_encoded_is_answered_by_labelled_popularity(
    bench: Bench, history: tuple[str | HistoryEntry, ...], reason: Reason, seen: list[int]
) -> None:
    answer = await bench.ask(*history, k=ALL, user_id="u", exclude_items=("i7",))
    assert (answer.source, answer.reason, answer.cache) == ("popularity", reason, "bypass")
    assert answer.top.item_index_K.tolist() == popular(bench, ALL, [*seen, 7])
    shown = await bench.ask(*history, k=ALL, exclude_seen=False)
    assert shown.top.item_index_K.tolist() == popular(bench, ALL)
    bench.store.calls.clear()
    with pytest.raises(EmptyHistoryError):
        await bench.ask(*history, user_id="u", fallback=False)
    assert bench.store.calls == []  # what is refused changes nothing


async def test_neither_history_nor_user_is_an_empty_history(bench: Bench) -> None:
    answer = await bench.ask(history=None)
    assert (answer.source, answer.reason, answer.cache) == ("popularity", "empty_history", "bypass")
    with pytest.raises(EmptyHistoryError, match="the history is empty"):
        await bench.ask(history=None, fallback=False)


async def test_an_empty_history_is_a_statement_and_not_looked_up(bench: Bench) -> None:
    await bench.ask("i3", user_id="u")
    answer = await bench.ask(user_id="u")
    assert (answer.reason, answer.cache) == ("empty_history", "bypass")


# --- what is kept -------------------------------------------------------------------------------


async def test_a_posted_history_is_kept_for_its_user(bench: Bench) -> None:
    answer = await bench.ask("i4", "i3", HistoryEntry("i5", 1), "x", user_id="u")
    assert answer.cache == "bypass"
    assert bench.store.calls == ["put"]
    digest = bench.fleet.served(None).digest
    record = bench.store.records["u", digest]
    assert (record.user_id, record.model_digest) == ("u", digest)
    assert record.liked_N.tolist() == [3, 4]
    assert record.disliked_N.tolist() == [5]
    assert record.latent_D.shape == (4,)


@pytest.mark.parametrize(
    ("history", "kept"),
    [
        ((HistoryEntry("i5", 1), HistoryEntry("i6", 2), "x"), ("i5", "i6")),
        (("x", "y"), ()),
        ((), ()),
    ],
)
async def test_a_posted_history_takes_the_place_of_the_kept_one_whatever_the_model_makes_of_it(
    bench: Bench, history: tuple[str | HistoryEntry, ...], kept: tuple[str, ...]
) -> None:
    await bench.ask("i4", user_id="u")
    answer = await bench.ask(*history, user_id="u")
    assert answer.source == "popularity"
    assert bench.store.histories["u"].entries.item_ids == kept
    found = await bench.ask(history=None, user_id="u", exclude_seen=False)
    assert (found.source, found.cache) == ("popularity", "miss")


async def test_a_history_was_posted_when_its_request_came_however_long_the_model_took(
    bench: Bench,
) -> None:
    bench.now_us = 1000
    asking = asyncio.create_task(bench.ask("i4", user_id="u"))
    await asyncio.sleep(0)
    bench.now_us = 2000
    await asking
    assert bench.store.histories["u"].posted_at_us == 1000


async def test_a_kept_latent_gives_the_list_of_the_posted_history(bench: Bench) -> None:
    history = ("i4", "i3", HistoryEntry("i5", 1))
    for exclude_seen in (True, False):
        fields: dict[str, Any] = {"k": ALL, "exclude_seen": exclude_seen, "exclude_items": ("i9",)}
        posted = await bench.ask(*history, user_id="u", **fields)
        kept = await bench.ask(history=None, user_id="u", **fields)
        assert (kept.source, kept.reason, kept.cache) == ("model", "", "hit")
        assert ids(kept) == ids(posted)
        np.testing.assert_allclose(kept.top.score_K, posted.top.score_K, atol=1e-5)


async def test_a_hit_is_not_written_back(bench: Bench) -> None:
    await bench.ask("i4", user_id="u")
    await bench.ask(history=None, user_id="u")
    assert bench.store.calls == ["put", "get"]


async def test_a_posted_history_wins_over_the_kept_one(bench: Bench) -> None:
    await bench.ask("i4", user_id="u")
    second = await bench.ask("i8", user_id="u", k=ALL)
    assert ids(second) == ids(await bench.ask("i8", k=ALL))
    kept = await bench.ask(history=None, user_id="u", k=ALL)
    assert ids(kept) == ids(second)
    assert bench.store.calls == ["put", "put", "get"]


async def test_a_user_of_whom_nothing_is_kept_gets_labelled_popularity(bench: Bench) -> None:
    answer = await bench.ask(history=None, user_id="u", exclude_items=("i7",))
    assert (answer.source, answer.reason, answer.cache) == ("popularity", "unknown_user", "miss")
    assert answer.top.item_index_K.tolist() == popular(bench, 5, [7])
    with pytest.raises(UnknownUserError):
        await bench.ask(history=None, user_id="u", fallback=False)


async def test_a_broken_store_is_a_miss_by_another_name(bench: Bench) -> None:
    await bench.ask("i4", user_id="u")
    bench.store.broken = True
    answer = await bench.ask(history=None, user_id="u")
    assert (answer.source, answer.reason, answer.cache) == ("popularity", "unknown_user", "error")
    with pytest.raises(UnknownUserError):
        await bench.ask(history=None, user_id="u", fallback=False)


async def test_a_record_that_does_not_fit_the_model_is_an_error_of_the_store(bench: Bench) -> None:
    await bench.ask("i4", user_id="u")
    (key, record), *_ = bench.store.records.items()
    bench.store.records[key] = replace(record, latent_D=np.zeros(9, dtype=np.float32))
    assert (await bench.ask(history=None, user_id="u")).cache == "error"
    assert bench.count("foldin_records_refused_total", reason="content") == 1


async def test_a_history_that_cannot_be_kept_is_answered_all_the_same(bench: Bench) -> None:
    bench.store.broken = True
    answer = await bench.ask("i4", user_id="u")
    assert (answer.source, answer.cache) == ("model", "bypass")
    assert bench.cached("lost") == 1


# --- limits and names ---------------------------------------------------------------------------


async def test_queries_beyond_the_limits_are_refused(bench: Bench) -> None:
    assert len(ids(await bench.ask("i1", k=50))) == NUM_ITEMS - 1
    with pytest.raises(TooManyResultsError, match="k is 51"):
        await bench.ask("i1", k=51)
    await bench.ask(*["i1"] * 40, exclude_items=("i2",) * 40)
    with pytest.raises(HistoryTooLongError, match="history has 41 entries"):
        await bench.ask(*["i1"] * 41)
    with pytest.raises(HistoryTooLongError, match="exclude_items has 41 entries") as refusal:
        await bench.ask(history=None, exclude_items=("i2",) * 41)
    assert refusal.value.field == "exclude_items"


async def test_a_model_is_asked_by_name(bench: Bench) -> None:
    assert (await bench.ask("i1", model="multvae")).model_name == "multvae"
    with pytest.raises(UnknownModelError):
        await bench.ask("i1", model="other")


# --- users with a row of their own --------------------------------------------------------------


async def test_a_cdae_uses_the_row_of_a_user_it_was_trained_with(tiny_bundle: TinyBundle) -> None:
    async with running(tiny_bundle("cdae")) as bench:
        nobody = await bench.ask("i1")
        stranger = await bench.ask("i1", user_id="never seen")
        trained = await bench.ask("i1", user_id="u1")
        assert stranger.top.score_K.tobytes() == nobody.top.score_K.tobytes()
        assert not np.allclose(trained.top.score_K, nobody.top.score_K)
        kept = await bench.ask(history=None, user_id="u1")
        assert ids(kept) == ids(trained)
        # What u2 has seen is not in the model, so it could not be hidden.
        assert (await bench.ask(history=None, user_id="u2")).reason == "unknown_user"


# --- metrics ------------------------------------------------------------------------------------


async def test_lists_and_the_use_of_the_store_are_counted(bench: Bench) -> None:
    await bench.ask("i4", user_id="u")
    await bench.ask(history=None, user_id="u")
    await bench.ask(history=None, user_id="v")
    await bench.ask()
    bench.store.broken = True
    await bench.ask(history=None, user_id="u")
    lists = {
        ("model", ""): 2,
        ("popularity", "unknown_user"): 2,
        ("popularity", "empty_history"): 1,
    }
    for (source, reason), expected in lists.items():
        assert bench.count("foldin_recommendations_total", source=source, reason=reason) == expected
    outcomes = {"bypass": 2, "hit": 1, "miss": 1, "error": 1, "lost": 0}
    assert {outcome: bench.cached(outcome) for outcome in outcomes} == outcomes
    assert bench.count("foldin_stage_seconds_count", stage="store_get") == 3
    assert bench.count("foldin_stage_seconds_count", stage="store_put") == 1


# --- laws ---------------------------------------------------------------------------------------

known_ids = st.integers(0, NUM_ITEMS - 1).map("i{}".format)
entries = st.builds(
    HistoryEntry,
    item_id=known_ids,
    rating=st.none() | st.sampled_from([1.0, 3.5, 4.0, 5.0]),
    weight=st.floats(0.125, 8, width=32),
)
law = settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def assert_the_same_bits(first: Recommendation, second: Recommendation) -> None:
    assert (first.source, first.reason) == (second.source, second.reason)
    assert first.top.item_index_K.tobytes() == second.top.item_index_K.tobytes()
    assert first.top.score_K.tobytes() == second.top.score_K.tobytes()


@pytest.fixture
def answers(tiny_bundle: TinyBundle) -> Iterator[Answers]:
    """Ask one query after the other, each alone in its batch, from a test that is no coroutine."""
    with asyncio.Runner() as runner:
        bench = Bench(tiny_bundle(positive_threshold=4))

        async def start() -> None:
            bench.batcher.start()

        async def ask(*queries: Query) -> list[Recommendation]:
            return [await bench.recommender.recommend(query) for query in queries]

        runner.run(start())
        yield lambda *queries: runner.run(ask(*queries))
        runner.run(bench.batcher.close())


@law
@given(history=st.lists(entries, max_size=20), data=st.data())
def test_the_order_of_a_history_changes_nothing_bit_for_bit(
    answers: Answers, history: list[HistoryEntry], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(history))
    assert_the_same_bits(*answers(query(*history, k=ALL), query(*shuffled, k=ALL)))


@law
@given(history=st.lists(entries, min_size=1, max_size=20), data=st.data())
def test_unknown_ids_change_nothing_bit_for_bit(
    answers: Answers, history: list[HistoryEntry], data: st.DataObject
) -> None:
    unknown = data.draw(st.lists(st.sampled_from(["x", "", "i", "i30", "I1"]), max_size=5))
    position = data.draw(st.integers(0, len(history)))
    mixed = [*history[:position], *map(HistoryEntry, unknown), *history[position:]]
    first, second = answers(query(*history, k=ALL), query(*mixed, k=ALL))
    assert_the_same_bits(first, second)
    assert second.unknown_items == tuple(dict.fromkeys(unknown))


@law
@given(history=st.lists(known_ids, min_size=1, max_size=20))
def test_an_item_counts_once_however_often_it_is_posted(
    answers: Answers, history: list[str]
) -> None:
    once = query(*dict.fromkeys(history), k=ALL)
    assert_the_same_bits(*answers(query(*history, *history, k=ALL), once))
