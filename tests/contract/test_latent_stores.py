"""What every latent store does: in process, in Redis, and with others before either of them."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import LatentStoreError
from service.latents import codec, history_codec
from service.latents.kept_history import NO_HISTORY, Event, KeptHistory
from service.latents.memory_store import MemoryStore, _Kept
from service.latents.redis_scripts import HISTORY_FIELD
from service.latents.redis_store import RedisStore
from service.latents.stand_in import StandIn
from service.latents.store import LatentStore, UserRecord
from service.latents.write_behind import WriteBehind
from service.latents.write_order import MAX_SKEW_US, wall_clock_us
from service.recommendation import PostedHistory

KINDS: Final = [
    "memory",
    pytest.param("redis", marks=pytest.mark.redis),
    "write-behind-memory",
    pytest.param("write-behind-redis", marks=pytest.mark.redis),
    "stand-in-memory",
    pytest.param("stand-in-redis", marks=pytest.mark.redis),
]
NOTHING: Final = history_codec.encode(NO_HISTORY, "anna")
LIKED: Final = KeptHistory(PostedHistory(("i1", "i2"), (4.0, None), (1.0, 2.5)))
LIMIT: Final = 50
# Of what is made, and how many steps late it arrives if it is a history.
ACTIONS: Final = st.tuples(st.sampled_from(["put", "append", "forget"]), st.integers(0, 6))
STRANGE_IDS: Final = ["", " ", "a\0b", "\r\nFLUSHALL\r\n", "ünï-✓-🎬", "\ud800", "x" * 100_000]


@dataclass(frozen=True)
class Subject:
    """A store under test, and a way past it to the bytes that it keeps: key, field, value."""

    store: LatentStore
    plant: Callable[[str, str, bytes], object]

    async def put(self, record: UserRecord) -> None:
        """Put a record, and wait until it has arrived."""
        await self.store.put(record)
        await self.settle()

    async def settle(self) -> None:
        if isinstance(self.store, WriteBehind) and self.store._writer is not None:
            await self.store._writer


def subject_in_memory(
    kind: str, ttl_s: float, now_us: Callable[[], int] = wall_clock_us
) -> Subject:
    memory = MemoryStore(1000, ttl_s, time.monotonic, now_us)

    def plant(key: str, field: str, value: bytes) -> None:
        kept = memory._kept.get(key) or _Kept(NOTHING, {}, time.monotonic() + ttl_s)
        if field == HISTORY_FIELD:
            kept = replace(kept, history=value)
        else:
            kept.records[field] = value
        memory._kept[key] = kept

    return Subject(before(kind, memory), plant)


def subject_in_redis(
    kind: str,
    url: str,
    ttl_s: float,
    client: redis.Redis,
    now_us: Callable[[], int] = wall_clock_us,
) -> Subject:
    store = RedisStore(url, timeout_s=5, ttl_s=ttl_s, now_us=now_us)

    def plant(key: str, field: str, value: bytes) -> None:
        client.hset(key, field, value)

    return Subject(before(kind, store), plant)


def before(kind: str, store: LatentStore) -> LatentStore:
    """Give the store, or what stands before it."""
    if kind.startswith("write-behind"):
        return WriteBehind(store, max_pending=1000, on_outcome=lambda _: None)
    if kind.startswith("stand-in"):
        local = MemoryStore(capacity=1000, ttl_s=60, clock=time.monotonic)
        return StandIn(store, local, time.monotonic, lambda *_: None)
    return store


@pytest.fixture
def ttl_s() -> float:
    return 60


@pytest.fixture(params=KINDS)
async def subject(request: pytest.FixtureRequest, ttl_s: float) -> AsyncIterator[Subject]:
    kind: str = request.param
    if "memory" in kind:
        subject = subject_in_memory(kind, ttl_s)
        yield subject
        await subject.store.close()
    else:
        url: str = request.getfixturevalue("redis_server").url
        with redis.Redis.from_url(url) as client:
            subject = subject_in_redis(kind, url, ttl_s, client)
            yield subject
            await subject.store.close()


@pytest.fixture
def digest(request: pytest.FixtureRequest) -> str:
    """A model of the test's own: tests share a Redis."""
    return hashlib.sha256(request.node.nodeid.encode()).hexdigest()


def make_record(user_id: str, digest: str, seed: int = 0) -> UserRecord:
    rng = np.random.default_rng(seed)
    items_N = rng.choice(5000, 30, replace=False)
    latent_D = rng.normal(size=16).astype(np.float32)
    liked_N, disliked_N = np.sort(items_N[:20]), np.sort(items_N[20:])
    return UserRecord(user_id, digest, latent_D, liked_N, disliked_N, posted_now())


def posted_now(history: KeptHistory = LIKED) -> KeptHistory:
    return replace(history, posted_at_us=wall_clock_us())


def derived(record: UserRecord, history: KeptHistory) -> UserRecord:
    return replace(record, history=history, is_derived=True)


def events(*names: str) -> list[Event]:
    """Give events of the items ``i-NAME`` with the names as their ids."""
    return [Event(f"i-{name}", event_id=name) for name in names]


def items(history: KeptHistory) -> list[str]:
    return list(history.entries.item_ids)


def assert_same(found: UserRecord | None, expected: UserRecord) -> None:
    assert found is not None
    assert (found.user_id, found.model_digest) == (expected.user_id, expected.model_digest)
    np.testing.assert_array_equal(found.latent_D, expected.latent_D)
    np.testing.assert_array_equal(found.liked_N, expected.liked_N)
    np.testing.assert_array_equal(found.disliked_N, expected.disliked_N)


async def test_what_was_put_comes_back(subject: Subject, digest: str) -> None:
    record = make_record("anna", digest)
    await subject.store.put(record)
    assert_same(await subject.store.get("anna", digest), record)
    await subject.settle()
    assert_same(await subject.store.get("anna", digest), record)


async def test_an_unknown_user_is_a_miss(subject: Subject, digest: str) -> None:
    await subject.put(make_record("anna", digest))
    assert await subject.store.get("bert", digest) is None


async def test_the_newest_record_counts(subject: Subject, digest: str) -> None:
    for seed in range(5):
        await subject.store.put(make_record("anna", digest, seed))
        assert_same(await subject.store.get("anna", digest), make_record("anna", digest, seed))
    await subject.settle()
    assert_same(await subject.store.get("anna", digest), make_record("anna", digest, 4))


async def test_another_model_is_a_miss(subject: Subject, digest: str) -> None:
    await subject.put(make_record("anna", digest))
    assert await subject.store.get("anna", "0" * 64) is None


async def test_a_forgotten_user_is_forgotten_under_all_models(
    subject: Subject, digest: str
) -> None:
    other_digest = digest[::-1]
    await subject.put(make_record("anna", digest))
    history = await subject.store.history("anna")
    await subject.put(derived(make_record("anna", other_digest), history))
    await subject.put(make_record("bert", digest))
    for model in digest, other_digest:
        assert await subject.store.get("anna", model) is not None
    await subject.store.forget("anna")
    for model in digest, other_digest:
        assert await subject.store.get("anna", model) is None
    assert not len(await subject.store.history("anna"))
    assert await subject.store.get("bert", digest) is not None


async def test_a_deletion_right_after_a_put_holds(subject: Subject, digest: str) -> None:
    await subject.store.put(make_record("anna", digest))
    await asyncio.sleep(0)  # the write may have begun
    await subject.store.forget("anna")
    await subject.settle()
    assert await subject.store.get("anna", digest) is None


@pytest.mark.parametrize("ttl_s", [0.5])
async def test_a_record_expires_and_reading_does_not_renew_it(
    subject: Subject, digest: str, ttl_s: float
) -> None:
    await subject.put(make_record("anna", digest))
    await asyncio.sleep(ttl_s / 2)
    await subject.store.get("anna", digest)
    await asyncio.sleep(ttl_s / 2 + 0.05)
    assert await subject.store.get("anna", digest) is None


async def test_a_value_of_another_user_is_refused_and_dropped(
    subject: Subject, digest: str
) -> None:
    subject.plant(codec.key("bert"), codec.field(digest), codec.encode(make_record("anna", digest)))
    with pytest.raises(LatentStoreError, match="another user"):
        await subject.store.get("bert", digest)
    assert await subject.store.get("bert", digest) is None


async def test_a_value_of_another_model_is_refused_and_dropped(
    subject: Subject, digest: str
) -> None:
    # The key holds 16 digits of the digest only; the value holds all of them.
    near_digest = digest[:-1] + ("0" if digest[-1] != "0" else "1")
    await subject.put(make_record("anna", near_digest))
    with pytest.raises(LatentStoreError, match="another model"):
        await subject.store.get("anna", digest)
    assert await subject.store.get("anna", near_digest) is None


@pytest.mark.parametrize("value", [b"", b"nonsense", bytes(1000)])
async def test_a_damaged_value_is_refused_and_dropped(
    subject: Subject, digest: str, value: bytes
) -> None:
    subject.plant(codec.key("anna"), codec.field(digest), value)
    with pytest.raises(LatentStoreError):
        await subject.store.get("anna", digest)
    assert await subject.store.get("anna", digest) is None
    await subject.put(make_record("anna", digest))
    assert_same(await subject.store.get("anna", digest), make_record("anna", digest))


async def test_a_latent_that_is_not_finite_is_never_kept(subject: Subject, digest: str) -> None:
    record = make_record("anna", digest)
    record.latent_D[3] = np.nan
    with suppress(LatentStoreError):
        await subject.put(record)
    assert await subject.store.get("anna", digest) is None


async def test_a_kept_record_does_not_change_with_the_arrays_it_came_from(
    subject: Subject, digest: str
) -> None:
    record = make_record("anna", digest)
    await subject.put(record)
    record.latent_D[:] = 7
    record.liked_N[:] = 7
    assert_same(await subject.store.get("anna", digest), make_record("anna", digest))


async def test_any_text_is_a_user_id_and_none_is_another(subject: Subject, digest: str) -> None:
    for seed, user_id in enumerate(STRANGE_IDS):
        await subject.put(make_record(user_id, digest, seed))
    for seed, user_id in enumerate(STRANGE_IDS):
        assert_same(await subject.store.get(user_id, digest), make_record(user_id, digest, seed))


async def test_a_new_user_and_a_long_history_are_kept_alike(subject: Subject, digest: str) -> None:
    nothing_N = np.array([], dtype=np.int64)
    latent_D = np.zeros(600, dtype=np.float32)
    for liked_N, disliked_N in [(nothing_N, nothing_N), (np.arange(100_000), nothing_N)]:
        record = UserRecord("anna", digest, latent_D, liked_N, disliked_N, posted_now())
        await subject.put(record)
        assert_same(await subject.store.get("anna", digest), record)


async def test_users_at_the_same_time_get_what_is_theirs(subject: Subject, digest: str) -> None:
    records = [make_record(f"user-{seed}", digest, seed) for seed in range(100)]
    await asyncio.gather(*(subject.store.put(record) for record in records))
    found = await asyncio.gather(*(subject.store.get(r.user_id, digest) for r in records))
    for record, one in zip(records, found, strict=True):
        assert_same(one, record)


async def test_a_cancelled_operation_leaves_nothing_to_the_next(
    subject: Subject, digest: str
) -> None:
    records = [make_record(f"user-{seed}", digest, seed) for seed in range(200)]
    for record in records:
        await subject.put(record)
    tasks = [asyncio.create_task(subject.store.get(r.user_id, digest)) for r in records]
    for turns, task in enumerate(tasks):
        for _ in range(turns % 7):
            await asyncio.sleep(0)
        if turns % 2:
            task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    for record, outcome in zip(records, outcomes, strict=True):
        if not isinstance(outcome, asyncio.CancelledError):
            assert isinstance(outcome, UserRecord)
            assert_same(outcome, record)
    for record in records:
        assert_same(await subject.store.get(record.user_id, digest), record)


async def test_a_store_says_what_it_is_and_that_it_answers(subject: Subject) -> None:
    await subject.store.ping()
    assert subject.store.name in {"memory", "redis"}


async def test_a_store_can_be_closed_twice(subject: Subject, digest: str) -> None:
    await subject.store.put(make_record("anna", digest))
    await subject.store.close()
    await subject.store.close()


async def test_a_history_comes_back_as_it_was_posted(subject: Subject, digest: str) -> None:
    await subject.store.put(make_record("anna", digest))
    for _ in range(2):
        assert (await subject.store.history("anna")).entries == LIKED.entries
        await subject.settle()
    assert await subject.store.history("nobody") == NO_HISTORY


async def test_events_add_to_nothing_and_to_a_posted_history_alike(
    subject: Subject, digest: str
) -> None:
    await subject.store.forget("anna")
    assert items(await subject.store.append("anna", events("a", "b"), LIMIT)) == ["i-a", "i-b"]
    await subject.store.put(make_record("anna", digest))
    grown = await subject.store.append("anna", [Event("i3", 2.0, 0.5)], LIMIT)
    assert grown.entries == PostedHistory(("i1", "i2", "i3"), (4.0, None, 2.0), (1.0, 2.5, 0.5))
    assert await subject.store.history("anna") == grown


async def test_an_event_that_is_sent_again_counts_once(subject: Subject, digest: str) -> None:
    del digest
    await subject.store.forget("anna")
    first = await subject.store.append("anna", events("a", "b", "a"), LIMIT)
    assert items(first) == ["i-a", "i-b"]
    assert items(await subject.store.append("anna", events("b", "c"), LIMIT)) == [
        "i-a", "i-b", "i-c",
    ]  # fmt: skip
    again = await subject.store.append("anna", events("c"), LIMIT)
    assert again == await subject.store.history("anna")


async def test_of_too_many_events_the_newest_stay(subject: Subject) -> None:
    await subject.store.forget("anna")
    for name in "abcdef":
        await subject.store.append("anna", events(name), 3)
    assert items(await subject.store.history("anna")) == ["i-d", "i-e", "i-f"]
    assert items(await subject.store.append("anna", events(*"ghijk"), 3)) == ["i-i", "i-j", "i-k"]


async def test_an_event_lets_go_of_what_models_made_of_the_history_before(
    subject: Subject, digest: str
) -> None:
    other_digest = digest[::-1]
    await subject.put(make_record("anna", digest))
    history = await subject.store.history("anna")
    await subject.put(derived(make_record("anna", other_digest), history))
    await subject.store.append("anna", events("a"), LIMIT)
    assert await subject.store.get("anna", digest) is None
    assert await subject.store.get("anna", other_digest) is None


async def test_a_posted_history_lets_go_of_what_other_models_made_of_the_one_before(
    subject: Subject, digest: str
) -> None:
    other_digest = digest[::-1]
    await subject.put(make_record("anna", other_digest))
    newer = posted_now(KeptHistory(PostedHistory(("i9",))))
    await subject.store.put(replace(make_record("anna", digest), history=newer))
    for _ in range(2):
        assert await subject.store.get("anna", other_digest) is None
        assert await subject.store.history("anna") == newer
        await subject.settle()


async def test_a_derived_record_is_kept_beside_its_history_only(
    subject: Subject, digest: str
) -> None:
    await subject.store.forget("anna")
    history = await subject.store.append("anna", events("a"), LIMIT)
    await subject.put(derived(make_record("anna", digest), history))
    assert_same(await subject.store.get("anna", digest), make_record("anna", digest))
    assert await subject.store.history("anna") == history
    await subject.store.append("anna", events("b"), LIMIT)
    await subject.put(derived(make_record("anna", digest), history))
    assert await subject.store.get("anna", digest) is None  # it has not seen b
    await subject.store.forget("anna")
    await subject.put(derived(make_record("anna", digest), history))
    assert await subject.store.get("anna", digest) is None


async def test_writers_at_the_same_time_lose_no_event(subject: Subject) -> None:
    await subject.store.forget("anna")
    names = [f"{writer}-{number}" for writer in range(8) for number in range(10)]

    async def write(writer: int) -> None:
        for number in range(10):
            await subject.store.append("anna", events(f"{writer}-{number}"), 100)

    await asyncio.gather(*(write(writer) for writer in range(8)))
    kept = items(await subject.store.history("anna"))
    assert sorted(kept) == sorted(f"i-{name}" for name in names)
    for writer in range(8):  # each in its own order
        own = [item for item in kept if item.startswith(f"i-{writer}-")]
        assert own == [f"i-{writer}-{number}" for number in range(10)]


async def test_events_come_after_the_history_that_was_posted_before_them(
    subject: Subject, digest: str
) -> None:
    for number in range(20):
        await subject.store.put(make_record(f"other-{number}", digest))
    await subject.store.put(make_record("anna", digest))
    grown = await subject.store.append("anna", events("a"), LIMIT)
    assert items(grown) == ["i1", "i2", "i-a"]
    await subject.settle()
    assert await subject.store.history("anna") == grown


@pytest.mark.parametrize("owner", ["bert", None])
async def test_a_history_that_is_not_the_users_own_is_refused_and_dropped(
    subject: Subject, owner: str | None
) -> None:
    value = b"nonsense" if owner is None else history_codec.encode(LIKED, owner)
    for operation in (
        subject.store.history("anna"),
        subject.store.append("anna", events("a"), LIMIT),
    ):
        await subject.store.forget("anna")
        subject.plant(codec.key("anna"), HISTORY_FIELD, value)
        with pytest.raises(LatentStoreError):
            await operation
        assert await subject.store.history("anna") == NO_HISTORY
    assert items(await subject.store.append("anna", events("a"), LIMIT)) == ["i-a"]


@pytest.mark.parametrize("ttl_s", [0.5])
async def test_an_event_renews_a_user_and_a_derived_record_does_not(
    subject: Subject, digest: str, ttl_s: float
) -> None:
    await subject.store.forget("anna")
    await subject.store.append("anna", events("a"), LIMIT)
    await asyncio.sleep(ttl_s / 2)
    history = await subject.store.append("anna", events("b"), LIMIT)
    await asyncio.sleep(ttl_s / 2)
    assert await subject.store.history("anna") == history
    await subject.put(derived(make_record("anna", digest), history))
    await asyncio.sleep(ttl_s / 2)
    assert await subject.store.history("anna") == NO_HISTORY
    assert await subject.store.get("anna", digest) is None


# --- writes that arrive late --------------------------------------------------------------------


async def test_a_history_that_arrives_late_stands_under_the_events_that_came_after_it(
    subject: Subject, digest: str
) -> None:
    await subject.store.forget("anna")
    await subject.store.append("anna", events("before"), LIMIT)
    late = make_record("anna", digest)
    history = await subject.store.append("anna", events("a"), LIMIT)
    for _ in range(2):  # a write that is tried again may have arrived the first time
        await subject.put(late)
        history = await subject.store.history("anna")
        assert history.entries == PostedHistory(
            ("i1", "i2", "i-a"), (4.0, None, None), (1.0, 2.5, 1.0)
        )
    assert await subject.store.get("anna", digest) is None  # its latent has not seen the event
    assert await subject.store.append("anna", events("a"), LIMIT) == history


async def test_a_history_that_arrives_after_a_deletion_is_not_kept(
    subject: Subject, digest: str
) -> None:
    late = make_record("anna", digest)
    await subject.store.forget("anna")
    await subject.put(late)
    assert await subject.store.get("anna", digest) is None
    assert not len(await subject.store.history("anna"))
    await subject.store.append("anna", events("a"), LIMIT)
    await subject.put(late)
    assert items(await subject.store.history("anna")) == ["i-a"]


async def test_a_history_that_arrives_after_a_newer_one_is_not_kept(
    subject: Subject, digest: str
) -> None:
    late = make_record("anna", digest, 1)
    newer = replace(
        make_record("anna", digest, 2), history=posted_now(KeptHistory(PostedHistory(("i9",))))
    )
    await subject.put(newer)
    await subject.put(late)
    assert_same(await subject.store.get("anna", digest), newer)
    assert await subject.store.history("anna") == newer.history


async def test_a_clock_that_was_far_ahead_bars_no_later_history(
    subject: Subject, digest: str
) -> None:
    ahead = make_record("anna", digest)
    ahead_us = ahead.history.posted_at_us + 10 * MAX_SKEW_US
    await subject.put(replace(ahead, history=replace(LIKED, posted_at_us=ahead_us)))
    newer = posted_now(KeptHistory(PostedHistory(("i9",))))
    await subject.put(replace(make_record("anna", digest), history=newer))
    assert await subject.store.history("anna") == newer
    await subject.store.append("anna", events("a"), LIMIT)
    assert items(await subject.store.history("anna")) == ["i9", "i-a"]


async def test_a_history_alone_takes_the_place_of_all_that_was_kept(
    subject: Subject, digest: str
) -> None:
    await subject.put(make_record("anna", digest))
    for history in KeptHistory(PostedHistory(("i9",))), NO_HISTORY:
        posted = posted_now(history)
        await subject.store.put(UserRecord.of_history("anna", digest, posted))
        for _ in range(2):
            assert await subject.store.get("anna", digest) is None
            assert await subject.store.history("anna") == posted
            await subject.settle()


@pytest.mark.parametrize("kind", KINDS)
def test_however_late_histories_arrive_all_ends_as_if_they_had_come_in_time(
    kind: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("redis_server").url if "redis" in kind else ""

    @settings(max_examples=60)
    @given(st.lists(ACTIONS, max_size=12))
    def check(script: list[tuple[str, int]]) -> None:
        asyncio.run(play(kind, url, script))

    check()


async def play(kind: str, url: str, script: list[tuple[str, int]]) -> None:
    """Take one action a millisecond; a history is posted in its turn, and put steps later."""
    began_at_us = wall_clock_us()
    now_us = [began_at_us]
    user_id, digest = f"{kind}-{began_at_us}", "ab" * 32  # a user of the example's own
    with redis.Redis.from_url(url or "redis://nowhere.invalid") as client:
        subject = (
            subject_in_redis(kind, url, 60, client, lambda: now_us[0])
            if url
            else subject_in_memory(kind, 60, lambda: now_us[0])
        )
        late: dict[int, list[UserRecord]] = {}
        for step in range(len(script) + 7):
            now_us[0] += 1000
            action, delay = script[step] if step < len(script) else ("wait", 0)
            if action == "put":
                history = KeptHistory(PostedHistory((f"i-{step}",)), posted_at_us=now_us[0])
                record = replace(make_record(user_id, digest, step), history=history)
                late.setdefault(step + delay, []).append(record)
            elif action == "append":
                await subject.store.append(user_id, events(str(step)), LIMIT)
            elif action == "forget":
                await subject.store.forget(user_id)
            for record in late.get(step, []):
                await subject.put(record)
        expected = in_time([action for action, _ in script])
        assert items(await subject.store.history(user_id)) == [f"i-{step}" for step in expected]
        found = await subject.store.get(user_id, digest)
        assert found is None or len(expected) == 1
        if found is not None:
            assert_same(found, make_record(user_id, digest, expected[0]))
        await subject.store.close()


def in_time(actions: list[str]) -> list[int]:
    """Give the steps whose items are kept in the end where nothing is late."""
    kept: list[int] = []
    for step, action in enumerate(actions):
        if action != "append":
            kept = []
        if action != "forget":
            kept.append(step)
    return kept
