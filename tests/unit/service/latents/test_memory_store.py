import numpy as np
import pytest

from service.errors import LatentStoreError
from service.latents.kept_history import KeptHistory
from service.latents.memory_store import MemoryStore
from service.latents.store import UserRecord
from service.latents.write_order import LATEST_S, MARK_TTL_S, wall_clock_us
from service.recommendation import PostedHistory

DIGEST = "a1" * 32


class FakeClock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def make_record(user_id: str) -> UserRecord:
    latent_D = np.ones(4, dtype=np.float32)
    history = KeptHistory(PostedHistory(("i1", "i2")), posted_at_us=wall_clock_us())
    return UserRecord(user_id, DIGEST, latent_D, np.array([1, 2]), np.array([3]), history)


async def kept(store: MemoryStore, *user_ids: str) -> list[str]:
    return [user_id for user_id in user_ids if await store.get(user_id, DIGEST)]


async def test_the_least_recently_used_record_makes_room() -> None:
    store = MemoryStore(capacity=3, ttl_s=60, clock=FakeClock())
    for user_id in "abc":
        await store.put(make_record(user_id))
    await store.get("a", DIGEST)
    await store.put(make_record("b"))
    await store.put(make_record("d"))
    assert await kept(store, "a", "b", "c", "d") == ["a", "b", "d"]


async def test_a_record_is_gone_at_its_time_and_not_before() -> None:
    clock = FakeClock()
    store = MemoryStore(capacity=3, ttl_s=60, clock=clock)
    await store.put(make_record("a"))
    clock.now_s += 59.9
    assert await kept(store, "a") == ["a"]
    clock.now_s += 0.1
    assert await kept(store, "a") == []
    assert not store._kept


async def test_putting_a_record_again_renews_it() -> None:
    clock = FakeClock()
    store = MemoryStore(capacity=3, ttl_s=60, clock=clock)
    await store.put(make_record("a"))
    clock.now_s += 40
    await store.put(make_record("a"))
    clock.now_s += 40
    assert await kept(store, "a") == ["a"]


async def test_that_a_user_was_forgotten_is_known_for_as_long_as_a_write_may_be_late() -> None:
    clock = FakeClock()
    store = MemoryStore(capacity=3, ttl_s=60, clock=clock)
    late = make_record("a")
    await store.forget("a")
    clock.now_s += LATEST_S
    await store.put(late)
    assert not len(await store.history("a"))
    clock.now_s += MARK_TTL_S - LATEST_S
    assert await kept(store, "a") == []
    assert not store._kept


async def test_a_record_that_cannot_be_kept_leaves_the_one_before() -> None:
    store = MemoryStore(capacity=3, ttl_s=60, clock=FakeClock())
    await store.put(make_record("a"))
    broken = make_record("a")
    broken.latent_D[0] = np.inf
    with pytest.raises(LatentStoreError):
        await store.put(broken)
    assert await kept(store, "a") == ["a"]


async def test_a_closed_store_has_forgotten_everybody() -> None:
    store = MemoryStore(capacity=3, ttl_s=60, clock=FakeClock())
    await store.put(make_record("a"))
    await store.close()
    assert await kept(store, "a") == []
