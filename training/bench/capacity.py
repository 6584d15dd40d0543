"""A plan on paper: what so many users and items would take, by what was measured of fewer."""

import math
from dataclasses import dataclass
from typing import Final, final

from training.bench.serving_scale import ScaleRow
from training.errors import BadInputError

SECONDS_A_DAY: Final = 86_400
SECONDS_AN_HOUR: Final = 3_600
# One process of a shard may fail, or be replaced, while another answers.
FEWEST_REPLICAS: Final = 2
# A Redis and the replica that takes over from it.
COPIES_OF_REDIS: Final = 2


@final
@dataclass(frozen=True, slots=True)
class Demand:
    """What is asked for.

    Attributes:
        users: All of them are kept.
        items: Of the catalogue.
        requests_a_day: Of a user, on average.
        peak: The busiest second over the average one.
        use: Share of what a process can do that the plan asks of it in that second.
        redis_bytes: That a user takes in Redis, history and latent. Measured with the store and
            redis-server 7: 2,003 with histories of 30 items, 2,810 with 100 (latents of 200).
        core_hour: Price of a core and its share of memory for an hour, in any currency.
    """

    users: int = 100_000_000
    items: int = 10_000_000
    requests_a_day: float = 5.0
    peak: float = 3.0
    use: float = 0.6
    redis_bytes: int = 2_810
    core_hour: float = 0.05


@final
@dataclass(frozen=True, slots=True)
class Capacity:
    """What that takes.

    Attributes:
        mode: How the items of a shard are found.
        shard_items: Items of a shard: as many as were measured, since nothing is known of more.
        shards: Parts of the catalogue; each request asks all of them.
        peak_rps: Requests in the busiest second.
        replicas: Processes a shard.
        memory_bytes: Of one process, its part of the weights in memory.
        total_memory_bytes: Of all processes.
        redis_bytes: Of all users, with the replica of each Redis.
        p99_ms: Of one shard, measured; the slowest of all shards decides, so that it is a lower
            bound.
        cores: Busy in that second, and what ``use`` leaves free beside them.
        cost_per_1000: Of a thousand requests, if the cores of the busiest second are paid for
            that second only; times ``peak`` if they are paid for all day.
    """

    mode: str
    shard_items: int
    shards: int
    peak_rps: float
    replicas: int
    memory_bytes: int
    total_memory_bytes: int
    redis_bytes: int
    p99_ms: float
    cores: float
    cost_per_1000: float

    @property
    def processes(self) -> int:
        """Of all shards."""
        return self.shards * self.replicas


def planned(row: ScaleRow, demand: Demand) -> Capacity:
    """Do the arithmetic, by the load at the most connections that was measured.

        shards = items / items measured, rounded up
        peak_rps = users x requests_a_day / 86,400 s x peak
        replicas = peak_rps / (measured rps x use), rounded up, two at least
        cores = peak_rps x shards x measured processor time a request / use
        cost of 1,000 = 1,000 x shards x that time / use / 3,600 s x core_hour

    Args:
        row: The largest catalogue that was measured in this mode.
        demand: What is asked for.

    Raises:
        BadInputError: The measurement lacks what only Linux tells, or nothing was answered.
    """
    load = max(row.loads, key=lambda load: load.connections)
    if row.own_bytes is None or row.file_bytes is None or not load.cpu_ms or load.rps <= 0:
        raise BadInputError(f"{row.mode}: memory, processor time or answers were not measured")
    shards = math.ceil(demand.items / row.items)
    peak_rps = demand.users * demand.requests_a_day / SECONDS_A_DAY * demand.peak
    replicas = max(FEWEST_REPLICAS, math.ceil(peak_rps / (load.rps * demand.use)))
    busy_s = shards * load.cpu_ms / 1e3 / demand.use
    memory_bytes = row.own_bytes + row.file_bytes
    return Capacity(
        mode=row.mode,
        shard_items=row.items,
        shards=shards,
        peak_rps=peak_rps,
        replicas=replicas,
        memory_bytes=memory_bytes,
        total_memory_bytes=shards * replicas * memory_bytes,
        redis_bytes=demand.users * demand.redis_bytes * COPIES_OF_REDIS,
        p99_ms=load.p99_ms,
        cores=peak_rps * busy_s,
        cost_per_1000=1_000 * busy_s / SECONDS_AN_HOUR * demand.core_hour,
    )
