import numpy as np
import pytest

from service.errors import LatentStoreError
from service.latents.memory_store import MemoryStore
from service.latents.store import UserRecord

DIGEST = "a1" * 32


class FakeClock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def make_record(user_id: str) -> UserRecord:
    latent_D = np.ones(4, dtype=np.float32)
    return UserRecord(user_id, DIGEST, latent_D, np.array([1, 2]), np.array([3]))


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


async def test_an_expired_record_is_nothing_to_forget() -> None:
    clock = FakeClock()
    store = MemoryStore(capacity=3, ttl_s=60, clock=clock)
    await store.put(make_record("a"))
    clock.now_s += 60
    assert not await store.forget("a")


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
