import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from service.errors import LatentStoreError, RecordRefusedError
from service.latents import codec
from service.latents.circuit_breaker import FAILURES_TO_OPEN, State
from service.latents.kept_history import Event, KeptHistory
from service.latents.memory_store import MemoryStore
from service.latents.stand_in import StandIn
from service.latents.store import UserRecord
from service.latents.write_order import wall_clock_us
from service.recommendation import PostedHistory

DIGEST = "a1" * 32
OTHER_DIGEST = "b2" * 32
PROBE_EVERY_S = 0.01


LIKED = KeptHistory(PostedHistory(("i1",)), posted_at_us=1)


def make_record(
    user_id: str = "anna",
    seed: int = 0,
    digest: str = DIGEST,
    history: KeptHistory | None = None,
    *,
    is_derived: bool = False,
) -> UserRecord:
    latent_D = np.array([seed], np.float32)
    nothing_N = np.array([], dtype=np.int64)
    if history is None:
        history = KeptHistory(PostedHistory((f"i{seed}",)), posted_at_us=wall_clock_us())
    return UserRecord(user_id, digest, latent_D, nothing_N, nothing_N, history, is_derived)


def seed_of(record: UserRecord | None) -> int | None:
    return None if record is None else int(record.latent_D[0])


class FakeRedis:
    """A shared store that does as it is told, and counts how often it is asked."""

    def __init__(self) -> None:
        self.kept = MemoryStore(1000, 60, time.monotonic)
        self.broken: set[str] = set()
        self.asked: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.name = "redis"

    async def _ask(self, operation: str) -> None:
        self.asked.append(operation)
        await self.gate.wait()
        if operation in self.broken:
            raise LatentStoreError("broken")

    async def get(self, user_id: str, model_digest: str) -> UserRecord | None:
        await self._ask("get")
        return await self.kept.get(user_id, model_digest)

    async def put(self, record: UserRecord) -> None:
        await self._ask("put")
        await self.kept.put(record)

    async def history(self, user_id: str) -> KeptHistory:
        await self._ask("get")
        return await self.kept.history(user_id)

    async def append(self, user_id: str, events: Sequence[Event], limit: int) -> KeptHistory:
        await self._ask("append")
        return await self.kept.append(user_id, events, limit)

    async def forget(self, user_id: str) -> None:
        await self._ask("forget")
        await self.kept.forget(user_id)

    async def ping(self) -> None:
        await self._ask("ping")

    async def close(self) -> None:
        self.asked.append("close")

    def breaks(self, *operations: str) -> None:
        self.broken = set(operations or ("get", "put", "append", "forget", "ping"))


class Subject:
    """A stand-in, the store that it stands in for, and the states of its breakers."""

    def __init__(self, capacity: int = 100, probe_every_s: float = PROBE_EVERY_S) -> None:
        self.shared = FakeRedis()
        self.states: dict[str, State] = {}
        self.local = MemoryStore(capacity, 60, time.monotonic)
        self.store = StandIn(
            self.shared, self.local, time.monotonic, self.states.__setitem__, probe_every_s
        )

    async def open_reads(self) -> None:
        self.shared.breaks()
        for _ in range(FAILURES_TO_OPEN):
            with pytest.raises(LatentStoreError):
                await self.store.get("nobody", DIGEST)
        assert self.states["read"] == "open"

    async def seed(self, user_id: str = "anna", digest: str = DIGEST) -> int | None:
        return seed_of(await self.store.get(user_id, digest))


@pytest.fixture
async def subject() -> AsyncIterator[Subject]:
    subject = Subject()
    yield subject
    await subject.store.close()


async def until(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < give_up_at
        await asyncio.sleep(0.001)


async def test_while_all_is_well_nothing_is_kept_here(subject: Subject) -> None:
    await subject.store.put(make_record(seed=1))
    assert await subject.seed() == 1
    assert await subject.local.get("anna", DIGEST) is None
    assert subject.states == {"read": "closed", "write": "closed"}
    assert subject.store.name == "redis"
    await subject.store.ping()


async def test_what_was_put_in_an_outage_is_found_in_it_from_the_first_on(
    subject: Subject,
) -> None:
    await subject.store.put(make_record("bert", 7))
    subject.shared.breaks()
    for number in range(2 * FAILURES_TO_OPEN):
        await subject.store.put(make_record(f"user-{number}", number))
        assert await subject.seed(f"user-{number}") == number
    assert subject.states["write"] == "open"
    with pytest.raises(LatentStoreError):
        await subject.seed("bert")


async def test_it_is_never_found_by_another_model_or_user(subject: Subject) -> None:
    subject.shared.breaks()
    await subject.store.put(make_record("anna"))
    assert await subject.store.get("anna", OTHER_DIGEST) is None
    with pytest.raises(LatentStoreError):
        await subject.store.get("bert", DIGEST)


async def test_what_the_shared_store_has_of_the_history_before_is_no_longer_found(
    subject: Subject,
) -> None:
    await subject.store.put(make_record(seed=1))
    before = await subject.store.history("anna")
    other = make_record(seed=1, digest=OTHER_DIGEST, history=before, is_derived=True)
    await subject.store.put(other)
    subject.shared.breaks("put")
    posted = make_record(seed=2)
    await subject.store.put(posted)
    assert await subject.seed(digest=OTHER_DIGEST) is None
    assert await subject.store.history("anna") == posted.history


async def test_an_open_breaker_spares_the_shared_store_and_the_caller() -> None:
    subject = Subject(probe_every_s=60)
    await subject.open_reads()
    subject.shared.asked.clear()
    for _ in range(100):
        with pytest.raises(LatentStoreError, match="left alone"):
            await subject.store.get("nobody", DIGEST)
    assert subject.shared.asked == []
    await subject.store.close()


async def test_probes_come_one_at_a_time_and_no_request_is_one(subject: Subject) -> None:
    await subject.open_reads()
    subject.shared.asked.clear()
    subject.shared.gate.clear()
    await until(lambda: subject.states["read"] == "half-open")
    for _ in range(10):
        with pytest.raises(LatentStoreError):
            await subject.store.get("nobody", DIGEST)
    await asyncio.sleep(5 * PROBE_EVERY_S)
    assert subject.shared.asked == ["ping"]
    subject.shared.gate.set()
    await until(lambda: len(subject.shared.asked) > 3)
    assert subject.states["read"] in {"open", "half-open"}
    assert set(subject.shared.asked) == {"ping"}


async def test_an_outage_ends_without_any_request(subject: Subject) -> None:
    await subject.open_reads()
    for number in range(20):
        await subject.store.put(make_record(f"user-{number}", number))
    subject.shared.breaks("none")
    await until(lambda: set(subject.states.values()) == {"closed"} and not subject.store._owed)
    for number in range(20):
        assert seed_of(await subject.shared.kept.get(f"user-{number}", DIGEST)) == number
        assert await subject.local.get(f"user-{number}", DIGEST) is None
    await until(lambda: subject.store._probing is None or subject.store._probing.done())


async def test_a_store_that_takes_no_writes_is_still_read(subject: Subject) -> None:
    await subject.store.put(make_record("bert", 3))
    subject.shared.breaks("put")
    for number in range(2 * FAILURES_TO_OPEN):
        await subject.store.put(make_record(f"user-{number}", number))
    await asyncio.sleep(3 * PROBE_EVERY_S)
    assert subject.states["read"] == "closed"
    assert subject.states["write"] != "closed"
    assert await subject.seed("bert") == 3
    assert await subject.seed("user-1") == 1


async def test_writing_that_failed_for_lack_of_anything_to_write_is_tried_by_a_ping(
    subject: Subject,
) -> None:
    subject.shared.breaks()
    for number in range(FAILURES_TO_OPEN):
        await subject.store.put(make_record(f"user-{number}"))
        with suppress(LatentStoreError):
            await subject.store.forget(f"user-{number}")
    assert subject.states["write"] == "open"
    subject.shared.breaks("put")
    await until(lambda: subject.states["write"] == "closed")


async def test_a_newer_record_does_not_overtake_an_older_one_that_is_owed(
    subject: Subject,
) -> None:
    subject.shared.breaks("put")
    await subject.store.put(make_record(seed=1))
    subject.shared.breaks("none")
    await subject.store.put(make_record(seed=2))
    assert await subject.seed() == 2
    await until(lambda: not subject.store._owed)
    assert await subject.seed() == 2


async def test_a_record_that_comes_while_an_older_one_is_handed_over_is_not_lost(
    subject: Subject,
) -> None:
    subject.shared.breaks("put")
    await subject.store.put(make_record(seed=1))
    subject.shared.breaks("none")
    subject.shared.asked.clear()
    subject.shared.gate.clear()
    await until(lambda: "put" in subject.shared.asked)
    await subject.store.put(make_record(seed=2))
    subject.shared.gate.set()
    await until(lambda: not subject.store._owed)
    assert seed_of(await subject.shared.kept.get("anna", DIGEST)) == 2


async def test_a_deletion_while_the_record_is_handed_over_holds(subject: Subject) -> None:
    subject.shared.breaks("put")
    await subject.store.put(make_record())
    subject.shared.breaks("none")
    subject.shared.asked.clear()
    subject.shared.gate.clear()
    await until(lambda: "put" in subject.shared.asked)
    deleting = asyncio.create_task(subject.store.forget("anna"))
    await asyncio.sleep(0.01)
    # Had the deletion been sent, it would now be through, and the record come after it.
    assert "forget" not in subject.shared.asked
    subject.shared.gate.set()
    await deleting
    assert await subject.seed() is None


async def test_a_deletion_in_an_outage_is_done_here_and_says_that_it_failed(
    subject: Subject,
) -> None:
    subject.shared.breaks()
    await subject.store.put(make_record())
    with pytest.raises(LatentStoreError):
        await subject.store.forget("anna")
    with pytest.raises(LatentStoreError):
        await subject.seed()


async def test_what_is_handed_over_undoes_nothing_that_another_process_has_done_meanwhile(
    subject: Subject,
) -> None:
    subject.shared.breaks("put")
    for seed, user_id in enumerate(("anna", "bert", "carl")):
        await subject.store.put(make_record(user_id, seed))
    elsewhere = subject.shared.kept
    await elsewhere.forget("anna")
    await elsewhere.append("bert", [Event("i9")], 10)
    await elsewhere.put(make_record("carl", 8))
    subject.shared.breaks("none")
    await until(lambda: not subject.store._owed)
    for user_id, item_ids in {"anna": (), "bert": ("i1", "i9"), "carl": ("i8",)}.items():
        assert (await subject.store.history(user_id)).entries.item_ids == item_ids
    assert await subject.seed("anna") is None
    assert await subject.seed("carl") == 8


async def test_of_two_histories_that_are_owed_the_one_that_was_posted_later_is_handed_over(
    subject: Subject,
) -> None:
    subject.shared.breaks("put")
    earlier, later = make_record(seed=1, digest=OTHER_DIGEST), make_record(seed=2)
    await subject.store.put(later)
    await subject.store.put(earlier)
    assert await subject.seed() == 2
    subject.shared.breaks("none")
    await until(lambda: not subject.store._owed)
    assert await subject.shared.kept.history("anna") == later.history


@pytest.mark.parametrize("history", [LIKED, KeptHistory(PostedHistory(()), posted_at_us=1)])
async def test_a_history_that_no_model_can_read_is_kept_and_handed_over_too(
    subject: Subject, history: KeptHistory
) -> None:
    subject.shared.breaks("put")
    await subject.store.put(UserRecord.of_history("anna", DIGEST, history))
    assert await subject.store.get("anna", DIGEST) is None
    assert await subject.store.history("anna") == history
    subject.shared.breaks("none")
    await until(lambda: not subject.store._owed)
    assert await subject.shared.kept.history("anna") == history


async def test_a_record_that_is_never_taken_bars_no_other(subject: Subject) -> None:
    async def put(record: UserRecord) -> None:
        if record.user_id == "odd" or subject.shared.broken:
            raise LatentStoreError("broken")
        await subject.shared.kept.put(record)

    subject.shared.put = put  # type: ignore[method-assign]  # of the fake
    subject.shared.breaks("put")
    for user_id in "odd", "anna", "bert":
        await subject.store.put(make_record(user_id))
    subject.shared.breaks("none")
    subject.shared.broken.clear()
    await until(lambda: len(subject.store._owed) == 1)
    assert await subject.shared.kept.get("bert", DIGEST) is not None


async def test_a_record_that_no_store_could_keep_is_no_outage(subject: Subject) -> None:
    record = make_record()
    record.latent_D[0] = np.nan
    for _ in range(2 * FAILURES_TO_OPEN):
        with pytest.raises(RecordRefusedError):
            await subject.store.put(record)
    assert subject.states["write"] == "closed"
    assert not subject.store._owed


async def test_refused_records_are_an_answer_and_no_outage(subject: Subject) -> None:
    for number in range(2 * FAILURES_TO_OPEN):
        key = codec.key(f"user-{number}")
        await subject.shared.kept.put(make_record("anna"))
        subject.shared.kept._kept[key] = subject.shared.kept._kept[codec.key("anna")]
        with pytest.raises(RecordRefusedError) as refused:
            await subject.store.get(f"user-{number}", DIGEST)
        assert refused.value.reason == "user"
    assert subject.states["read"] == "closed"


async def test_of_more_than_it_may_keep_the_least_recently_used_go() -> None:
    subject = Subject(capacity=3, probe_every_s=60)
    subject.shared.breaks()
    for user_id in "anna", "bert", "carl":
        await subject.store.put(make_record(user_id))
    assert await subject.seed("anna") == 0
    await subject.store.put(make_record("dora"))
    assert list(subject.store._owed) == [codec.key(user_id) for user_id in ("carl", "anna", "dora")]
    assert subject.store._owed.keys() == subject.local._kept.keys()
    await subject.store.close()


async def test_what_has_expired_here_is_asked_of_the_shared_store() -> None:
    subject = Subject(probe_every_s=60)
    subject.shared.breaks("put")
    await subject.store.put(make_record(seed=1))
    subject.local.drop("anna")
    await subject.shared.kept.put(make_record(seed=5))
    assert await subject.seed() == 5
    await subject.store.close()


async def test_events_are_the_shared_stores_and_never_kept_here(subject: Subject) -> None:
    grown = await subject.store.append("anna", [Event("i1")], 10)
    assert await subject.store.history("anna") == grown
    subject.shared.breaks("append")
    for _ in range(FAILURES_TO_OPEN):
        with pytest.raises(LatentStoreError):
            await subject.store.append("anna", [Event("i2")], 10)
    assert subject.states == {"read": "closed", "write": "open"}
    subject.shared.asked.clear()
    with pytest.raises(LatentStoreError, match="left alone"):
        await subject.store.append("anna", [Event("i2")], 10)
    assert "append" not in subject.shared.asked
    assert not len(await subject.local.history("anna"))
    await until(lambda: subject.states["write"] == "closed")


async def test_events_wait_for_a_history_that_is_still_to_be_handed_over(
    subject: Subject,
) -> None:
    subject.shared.breaks("put")
    await subject.store.put(make_record(history=LIKED))
    assert await subject.store.history("anna") == LIKED
    with pytest.raises(LatentStoreError, match="left alone"):
        await subject.store.append("anna", [Event("i2")], 10)
    subject.shared.breaks("none")
    await until(lambda: not subject.store._owed)
    grown = await subject.store.append("anna", [Event("i2")], 10)
    assert grown.entries.item_ids == (*LIKED.entries.item_ids, "i2")


async def test_what_is_refused_for_its_content_is_no_outage(subject: Subject) -> None:
    endless = Event("x" * codec.MAX_VALUE_BYTES)
    for _ in range(2 * FAILURES_TO_OPEN):
        with pytest.raises(RecordRefusedError):
            await subject.store.append("anna", [endless], 10)
    assert subject.states["write"] == "closed"


async def test_a_derived_record_is_kept_where_its_history_is(subject: Subject) -> None:
    other = make_record(digest=OTHER_DIGEST, history=LIKED, is_derived=True)
    await subject.store.put(make_record(history=LIKED))
    await subject.store.put(other)
    assert await subject.seed(digest=OTHER_DIGEST) == 0
    subject.shared.breaks()
    with pytest.raises(LatentStoreError):
        await subject.store.put(other)
    assert not subject.store._owed
    await subject.store.put(make_record(seed=1, history=LIKED))
    await subject.store.put(replace(other, latent_D=np.array([2], np.float32)))
    assert await subject.seed() == 1
    assert await subject.seed(digest=OTHER_DIGEST) == 2
    assert len(subject.store._owed) == 1
    for number in range(FAILURES_TO_OPEN):
        await subject.store.put(make_record(f"user-{number}"))
    assert subject.states["write"] == "open"
    with pytest.raises(LatentStoreError, match="left alone"):
        await subject.store.put(replace(other, user_id="bert"))


async def test_what_is_handed_over_brings_its_history_along(subject: Subject) -> None:
    subject.shared.breaks("put")
    await subject.store.put(make_record(history=LIKED))
    subject.shared.breaks("none")
    await until(lambda: not subject.store._owed)
    assert await subject.shared.kept.history("anna") == LIKED


async def test_a_history_that_has_expired_here_is_asked_of_the_shared_store() -> None:
    subject = Subject(probe_every_s=60)
    subject.shared.breaks("put")
    await subject.store.put(make_record(history=LIKED))
    subject.local.drop("anna")
    assert not len(await subject.store.history("anna"))
    await subject.store.close()


async def test_closing_ends_the_watch_and_both_stores(subject: Subject) -> None:
    await subject.open_reads()
    await subject.store.close()
    assert subject.shared.asked[-1] == "close"
    assert subject.store._probing is not None
    assert subject.store._probing.done()


class AnyCourse(RuleBasedStateMachine):
    """Whatever breaks and heals in whatever order: the newest record, or none, never another."""

    users = st.sampled_from(["anna", "bert", "carl"])

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.subject = self.loop.run_until_complete(self._opened())
        self.newest: dict[str, int] = {}
        self.seed = 0

    async def _opened(self) -> Subject:
        return Subject(probe_every_s=0.001)

    def teardown(self) -> None:
        self.loop.run_until_complete(self.subject.store.close())
        self.loop.close()

    @rule(operations=st.sets(st.sampled_from(["get", "put", "append", "forget", "ping"])))
    def break_or_heal(self, operations: set[str]) -> None:
        self.subject.shared.broken = operations

    @rule(turns=st.integers(0, 3))
    def wait(self, turns: int) -> None:
        self.loop.run_until_complete(asyncio.sleep(0.002 * turns))

    @rule(user_id=users)
    def put(self, user_id: str) -> None:
        self.seed += 1
        self.newest[user_id] = self.seed
        self.loop.run_until_complete(self.subject.store.put(make_record(user_id, self.seed)))

    @rule(user_id=users)
    def get(self, user_id: str) -> None:
        with suppress(LatentStoreError):
            found = self.loop.run_until_complete(self.subject.store.get(user_id, DIGEST))
            assert found is None or found.user_id == user_id
            assert seed_of(found) == self.newest.get(user_id)


TestAnyCourse = AnyCourse.TestCase
