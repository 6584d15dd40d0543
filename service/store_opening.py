"""The latent store that the settings ask for, with what protects it."""

import time
from typing import Final

from service.latents.circuit_breaker import State
from service.latents.memory_store import MemoryStore
from service.latents.redis_store import RedisStore
from service.latents.stand_in import StandIn
from service.latents.store import LatentStore
from service.latents.write_behind import WriteBehind
from service.latents.write_order import LATEST_S
from service.settings import Settings
from service.telemetry import Telemetry

# Users whose latents wait to be written while Redis is slow; about 2 kB each.
MAX_PENDING_WRITES: Final = 1_000
# As the metric numbers them.
BREAKER_STATES: Final[tuple[State, ...]] = ("closed", "half-open", "open")


def open_store(settings: Settings, telemetry: Telemetry) -> LatentStore:
    """Give Redis with all that stands before it, or without a URL a store in this process."""
    if settings.redis_url is None:
        return MemoryStore(settings.latent_capacity, settings.latent_ttl_s, time.monotonic)
    redis = RedisStore(settings.redis_url, settings.redis_timeout_ms / 1000, settings.latent_ttl_s)
    # No longer: what comes back after an outage may be late, but not so late that a deletion is
    # no longer known.
    owed_ttl_s = min(settings.latent_ttl_s, LATEST_S)
    local = MemoryStore(settings.latent_capacity, owed_ttl_s, time.monotonic)

    def count(outcome: str) -> None:
        telemetry.cache.labels(outcome).inc()

    def show(operation: str, state: State) -> None:
        telemetry.store_breaker.labels(operation).set(BREAKER_STATES.index(state))

    store = StandIn(redis, local, time.monotonic, show)
    return WriteBehind(store, MAX_PENDING_WRITES, count)
