import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import LatentStoreError
from service.latents.kept_history import Event, KeptHistory
from service.latents.memory_store import MemoryStore
from service.latents.store import UserRecord
from service.latents.write_behind import WriteBehind
from service.latents.write_order import wall_clock_us
from service.recommendation import PostedHistory

DIGEST = "a1" * 32
OTHER_DIGEST = "b2" * 32


@final
class SlowStore:
    """A memory store whose writes wait for ``gate`` and fail on demand."""

    name = "slow"

    def __init__(self) -> None:
        self.kept = MemoryStore(capacity=1000, ttl_s=60, clock=time.monotonic)
        self.gate = asyncio.Event()
        self.failure: Exception | None = None
        self.written: list[str] = []
        self.under_way = self.most_under_way = 0
        self.closings = 0

    async def get(self, user_id: str, model_digest: str) -> UserRecord | None:
        return await self.kept.get(user_id, model_digest)

    async def put(self, record: UserRecord) -> None:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await self.gate.wait()
            await asyncio.sleep(0)  # others get a turn, as with a network in between
            if self.failure:
                raise self.failure
            await self.kept.put(record)
            self.written.append(record.user_id)
        finally:
            self.under_way -= 1

    async def history(self, user_id: str) -> KeptHistory:
        return await self.kept.history(user_id)

    async def append(self, user_id: str, events: Sequence[Event], limit: int) -> KeptHistory:
        if self.failure:
            raise self.failure
        return await self.kept.append(user_id, events, limit)

    async def forget(self, user_id: str) -> None:
        await self.kept.forget(user_id)

    async def ping(self) -> None:
        if self.failure:
            raise self.failure

    async def close(self) -> None:
        self.closings += 1


class Bench:
    """A write-behind store over a slow one, and what it told."""

    def __init__(self, max_pending: int = 100) -> None:
        self.slow = SlowStore()
        self.outcomes: list[str] = []
        self.store = WriteBehind(self.slow, max_pending, self.outcomes.append, flush_timeout_s=0.1)

    async def settle(self) -> None:
        self.slow.gate.set()
        if self.store._writer is not None:
            await self.store._writer

    async def check(self, expected: dict[str, list[str]]) -> None:
        """Make sure of the items of each history, and that no latent is of an older one."""
        for user_id, item_ids in expected.items():
            assert list((await self.store.history(user_id)).entries.item_ids) == item_ids
            newest = [int(item_ids[0][1:])] if len(item_ids) == 1 else None
            assert await self.likes(user_id) in (newest, None)

    async def likes(self, user_id: str) -> list[int] | None:
        record = await self.store.get(user_id, DIGEST)
        return record and record.liked_N.tolist()


def make_record(user_id: str, item_index: int = 0) -> UserRecord:
    latent_D = np.ones(4, dtype=np.float32)
    nothing_N = np.array([], dtype=np.int64)
    history = KeptHistory(PostedHistory((f"i{item_index}",)), posted_at_us=wall_clock_us())
    return UserRecord(user_id, DIGEST, latent_D, np.array([item_index]), nothing_N, history)


def make_derived(record: UserRecord, digest: str = DIGEST) -> UserRecord:
    return replace(record, model_digest=digest, is_derived=True)


async def test_a_put_waits_for_nothing_and_is_read_at_once() -> None:
    bench = Bench()
    await bench.store.put(make_record("anna", 1))
    assert await bench.likes("anna") == [1]
    await asyncio.sleep(0)
    assert bench.slow.under_way == 1
    assert await bench.likes("anna") == [1]
    assert bench.outcomes == []
    await bench.settle()
    assert await bench.likes("anna") == [1]
    assert bench.outcomes == ["written"]


async def test_the_newest_record_of_a_user_is_the_one_written() -> None:
    bench = Bench()
    await bench.store.put(make_record("anna", 1))
    await asyncio.sleep(0)
    for item_index in 2, 3, 4:
        await bench.store.put(make_record("anna", item_index))
        assert await bench.likes("anna") == [item_index]
    await bench.settle()
    assert bench.slow.written == ["anna", "anna"]
    assert bench.outcomes == ["written", "written"]
    assert await bench.likes("anna") == [4]


async def test_one_write_is_under_way_at_a_time_the_oldest_first() -> None:
    bench = Bench()
    for user_id in "abcde":
        await bench.store.put(make_record(user_id))
    await bench.store.put(make_record("a"))
    await bench.settle()
    assert bench.slow.written == list("abcde")
    assert bench.slow.most_under_way == 1


async def test_the_oldest_record_is_lost_when_there_are_too_many() -> None:
    bench = Bench(max_pending=3)
    for user_id in "abcde":
        await bench.store.put(make_record(user_id))
    assert bench.outcomes == ["lost", "lost"]
    await bench.settle()
    assert bench.slow.written == list("cde")
    assert await bench.likes("a") is None


async def test_a_failed_write_is_lost_and_the_next_one_is_tried() -> None:
    bench = Bench()
    bench.slow.failure = LatentStoreError("away")
    await bench.store.put(make_record("anna"))
    await bench.settle()
    assert bench.outcomes == ["lost"]
    assert await bench.likes("anna") is None
    bench.slow.failure = None
    await bench.store.put(make_record("bert"))
    await bench.settle()
    assert bench.outcomes == ["lost", "written"]
    assert await bench.likes("bert") == [0]


async def test_a_fault_of_the_store_shows_and_does_not_end_the_writing() -> None:
    bench = Bench()
    bench.slow.failure = ZeroDivisionError()
    await bench.store.put(make_record("anna"))
    await bench.store.put(make_record("bert"))
    with pytest.raises(ZeroDivisionError):
        await bench.settle()
    assert bench.outcomes == ["lost"]
    bench.slow.failure = None
    await bench.store.put(make_record("carl"))
    await bench.settle()
    assert bench.slow.written == ["bert", "carl"]


async def test_a_deleted_note_is_never_written() -> None:
    bench = Bench()
    await bench.store.put(make_record("anna"))
    await bench.store.put(make_record("bert"))
    await bench.store.forget("anna")
    await bench.settle()
    assert bench.slow.written == ["bert"]
    assert await bench.likes("anna") is None


async def test_a_deletion_waits_for_the_write_under_way() -> None:
    bench = Bench()
    await bench.store.put(make_record("anna"))
    await bench.store.put(make_record("bert"))
    await asyncio.sleep(0)
    deletion = asyncio.create_task(bench.store.forget("anna"))
    await asyncio.sleep(0.01)
    assert not deletion.done()
    await bench.settle()
    await deletion
    assert await bench.likes("anna") is None
    assert await bench.likes("bert") == [0]


async def test_a_deletion_does_not_wait_for_the_writes_of_others() -> None:
    bench = Bench()
    await bench.store.put(make_record("anna"))
    await asyncio.sleep(0)
    async with asyncio.timeout(1):
        await bench.store.forget("bert")
    await bench.settle()


async def test_events_wait_for_the_history_that_was_posted_before_them_and_for_no_other() -> None:
    bench = Bench()
    await bench.store.put(make_record("anna"))
    await asyncio.sleep(0)
    for user_id in "bert", "carl", "dora":
        await bench.store.put(make_record(user_id))
    appending = asyncio.create_task(bench.store.append("dora", [Event("i9")], 10))
    await asyncio.sleep(0.01)
    assert not appending.done()
    assert (await bench.store.append("emil", [Event("i9")], 10)).entries.item_ids == ("i9",)
    bench.slow.gate.set()
    assert (await appending).entries.item_ids == ("i0", "i9")
    assert bench.slow.written[:2] == ["anna", "dora"]  # who is waited for goes first
    await bench.settle()
    assert len(bench.slow.written) == 4


async def test_events_come_after_a_history_whose_writing_failed_all_the_same() -> None:
    bench = Bench()
    bench.slow.gate.set()
    bench.slow.failure = ZeroDivisionError()
    await bench.store.put(make_record("anna"))
    await bench.store.put(make_record("bert"))
    assert bench.store._writer is not None
    with pytest.raises(ZeroDivisionError):
        await bench.store._writer
    bench.slow.failure = None
    grown = await bench.store.append("bert", [Event("i9")], 10)
    assert grown.entries.item_ids == ("i0", "i9")
    assert (await bench.store.append("anna", [Event("i9")], 10)).entries.item_ids == ("i9",)


async def test_a_store_that_takes_no_events_says_so() -> None:
    bench = Bench()
    bench.slow.failure = LatentStoreError("away")
    with pytest.raises(LatentStoreError):
        await bench.store.append("anna", [Event("i9")], 10)


async def test_a_noted_history_is_the_newest_one_under_every_model() -> None:
    bench = Bench()
    bench.slow.gate.set()
    await bench.store.put(replace(make_record("anna", 1), model_digest=OTHER_DIGEST))
    await bench.settle()
    bench.slow.gate.clear()
    await bench.store.put(make_record("anna", 2))
    for _ in range(2):  # noted, then under way
        assert await bench.store.get("anna", OTHER_DIGEST) is None
        assert (await bench.store.history("anna")).entries.item_ids == ("i2",)
        await asyncio.sleep(0)
    await bench.settle()


async def test_a_derived_record_never_takes_the_place_of_a_posted_one() -> None:
    bench = Bench()
    posted = make_record("anna", 1)
    await bench.store.put(posted)
    await bench.store.put(make_derived(make_record("anna", 2)))
    assert await bench.likes("anna") == [1]
    await asyncio.sleep(0)  # the posted one is under way
    await bench.store.put(make_derived(posted, OTHER_DIGEST))
    assert await bench.likes("anna") == [1]
    assert (await bench.store.get("anna", OTHER_DIGEST)) is not None
    assert (await bench.store.history("anna")).entries.item_ids == ("i1",)
    await bench.settle()
    assert bench.outcomes == ["written", "written"]
    for digest in DIGEST, OTHER_DIGEST:
        assert await bench.store.get("anna", digest) is not None


async def test_a_noted_derived_record_hides_nothing_that_the_store_has() -> None:
    bench = Bench()
    bench.slow.gate.set()
    posted = make_record("anna", 1)
    await bench.store.put(posted)
    await bench.settle()
    bench.slow.gate.clear()
    await bench.store.put(make_derived(posted, OTHER_DIGEST))
    assert await bench.likes("anna") == [1]
    assert (await bench.store.history("anna")).entries.item_ids == ("i1",)
    await bench.settle()


async def test_a_late_write_undoes_nothing_that_another_process_has_done_meanwhile() -> None:
    bench = Bench()
    for item_index, user_id in enumerate(("anna", "bert", "carl")):
        await bench.store.put(make_record(user_id, item_index))
    await asyncio.sleep(0)  # answered, and anna's is on its way
    elsewhere = bench.slow.kept
    await elsewhere.forget("anna")
    await elsewhere.append("bert", [Event("i9")], 10)
    await elsewhere.put(make_record("carl", 8))
    await bench.settle()
    await bench.check({"anna": [], "bert": ["i1", "i9"], "carl": ["i8"]})


async def test_of_two_histories_the_one_posted_later_counts_whichever_is_answered_first() -> None:
    bench = Bench()
    earlier, later = make_record("anna", 1), make_record("anna", 2)
    await bench.store.put(later)
    await bench.store.put(earlier)
    assert await bench.likes("anna") == [2]
    await asyncio.sleep(0)  # the later one is under way
    await bench.store.put(earlier)
    assert await bench.likes("anna") == [2]
    await bench.settle()
    assert await bench.likes("anna") == [2]
    assert bench.outcomes == ["written"]


async def test_a_history_that_no_model_can_read_is_noted_without_a_latent() -> None:
    bench = Bench()
    posted = make_record("anna", 1).history
    await bench.store.put(UserRecord.of_history("anna", DIGEST, posted))
    assert await bench.store.get("anna", DIGEST) is None
    assert await bench.store.history("anna") == posted
    await bench.settle()
    assert await bench.store.history("anna") == posted


async def test_the_store_behind_gives_the_name_and_answers_the_ping() -> None:
    bench = Bench()
    assert bench.store.name == "slow"
    await bench.store.ping()
    bench.slow.failure = LatentStoreError("away")
    with pytest.raises(LatentStoreError):
        await bench.store.ping()


async def test_closing_writes_what_is_noted() -> None:
    bench = Bench()
    bench.slow.gate.set()
    for user_id in "abc":
        await bench.store.put(make_record(user_id))
    await bench.store.close()
    assert bench.slow.written == list("abc")
    assert bench.outcomes == ["written"] * 3
    assert bench.slow.closings == 1


async def test_closing_before_a_store_that_hangs_ends_in_time_and_counts_the_loss() -> None:
    bench = Bench()
    for user_id in "abc":
        await bench.store.put(make_record(user_id))
    began_at = time.monotonic()
    await bench.store.close()
    assert time.monotonic() - began_at < 1
    assert bench.outcomes == ["lost"] * 3
    assert (bench.slow.written, bench.slow.under_way, bench.slow.closings) == ([], 0, 1)


async def test_what_is_put_after_closing_is_lost() -> None:
    bench = Bench()
    await bench.store.close()
    await bench.store.put(make_record("anna"))
    assert bench.outcomes == ["lost"]
    assert bench.store._writer is None


actions = st.tuples(
    st.sampled_from(["put", "append", "forget", "cancelled forget", "turn"]), st.sampled_from("abc")
)


@given(st.lists(actions, max_size=40), st.integers(1, 4))
def test_whatever_the_order_the_store_ends_as_the_last_action_left_it(
    script: list[tuple[str, str]], max_pending: int
) -> None:
    asyncio.run(play(script, max_pending))


async def play(script: list[tuple[str, str]], max_pending: int) -> None:
    bench = Bench(max_pending)
    bench.slow.gate.set()
    expected: dict[str, list[str]] = {}
    for item_index, (action, user_id) in enumerate(script):
        item_id = f"i{item_index}"
        if action == "put":
            await bench.store.put(make_record(user_id, item_index))
            expected[user_id] = [item_id]
        elif action == "append":
            grown = await bench.store.append(user_id, [Event(item_id)], 100)
            expected[user_id] = [*expected.get(user_id, grown.entries.item_ids[:-1]), item_id]
        elif action == "forget":
            await bench.store.forget(user_id)
            expected[user_id] = []
        elif action == "cancelled forget":
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0):
                    await bench.store.forget(user_id)
            expected.pop(user_id, None)  # it may have happened, or not
        else:
            await asyncio.sleep(0)
    await bench.settle()
    if "lost" not in bench.outcomes:
        await bench.check(expected)
    assert set(Counter(bench.outcomes)) <= {"written", "lost"}
