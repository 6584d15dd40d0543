"""The latent store that the replicas of the service share: Redis, which is never trusted.

Redis may be slow, full, gone or lying. Whatever it does, an operation ends within its time, and
in a record, in None or in a ``LatentStoreError``.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final, final

from redis.exceptions import RedisClusterException, RedisError

from service.errors import LatentStoreError, RecordRefusedError
from service.latents import codec, history_codec, redis_clients
from service.latents.kept_history import NO_HISTORY, Event, KeptHistory, nothing_since
from service.latents.redis_address import RedisAddress
from service.latents.redis_scripts import (
    ADD_DERIVED,
    EXTEND,
    FORGET,
    HISTORY_FIELD,
    NOT_THERE,
    REPLACE,
)
from service.latents.store import UserRecord
from service.latents.write_order import MARK_TTL_S, wall_clock_us

# What comes of a bad server or network. The parser of the client lets a server's nonsense out as
# a ValueError (a length that is no number) or a RecursionError (lists in lists); the clients for
# sentinels and clusters take it apart unlooked at (the last three).
FAILURES: Final = (
    RedisError, RedisClusterException, OSError, ValueError, RecursionError,
    LookupError, TypeError, AttributeError,
)  # fmt: skip

# Records written together (a batch, a warm-up) expire spread over a tenth of their time.
JITTER: Final = 0.1


@final
class RedisStore:
    """A ``LatentStore`` in Redis. Making one connects to nothing."""

    def __init__(
        self,
        url: str,
        timeout_s: float,
        ttl_s: float,
        chance: Callable[[], float] = random.random,
        now_us: Callable[[], int] = wall_clock_us,
    ) -> None:
        """Read the address; the first operation connects.

        Args:
            url: As ``RedisAddress`` reads it.
            timeout_s: The longest that any operation takes, with connecting and waiting for a
                free connection. Too short: needless misses. Too long: answers wait for a sick
                Redis.
            ttl_s: The longest that a record is kept after it was put.
            chance: Gives numbers in [0, 1), by which the time to live is shortened up to a tenth.
            now_us: Gives the time by which writes are ordered.

        Raises:
            SettingsError: The URL cannot be used. The message does not repeat it.
        """
        self._timeout_s = timeout_s
        self._ttl_s = ttl_s
        self._chance = chance
        self._now_us = now_us
        # The clients' own pools differ in what they do when all connections are taken: before
        # this gate none ever is. Nor has a release to wait then, which a cancellation could cut.
        self._free_connections = asyncio.Semaphore(redis_clients.MAX_CONNECTIONS)
        address = RedisAddress.parse(url)
        self._client, self._sentinels = redis_clients.clients_of(address, timeout_s)

    @property
    def name(self) -> str:
        """``redis``."""
        return "redis"

    async def get(self, user_id: str, model_digest: str) -> UserRecord | None:
        """Give the record of this user under this model, or None.

        Raises:
            RecordRefusedError: Redis held something else than that record; it is deleted.
            LatentStoreError: Redis failed or took too long.
        """
        key, field = codec.key(user_id), codec.field(model_digest)
        async with self._guarded("HGET"):
            value = await self._read(key, field)
            if value is None:
                return None
            try:
                return codec.decode(value, user_id, model_digest)
            except RecordRefusedError:
                await self._drop(key, field)
                raise

    async def put(self, record: UserRecord) -> None:
        """Keep a record with its history until it expires or is evicted.

        Raises:
            RecordRefusedError: The record cannot be kept.
            LatentStoreError: Redis failed or took too long.
        """
        key, field = codec.key(record.user_id), codec.field(record.model_digest)
        latent = (field, codec.encode(record)) if record.has_latent else ()
        posted = record.history
        history = history_codec.encode(posted, record.user_id)
        async with self._guarded("put"):
            if record.is_derived:
                await self._run(ADD_DERIVED, key, history_codec.stamp(history), *latent)
                return
            ttl_ms = self._ttl_ms(posted)
            if not await self._run(REPLACE, key, history, ttl_ms, posted.posted_at_us, *latent):
                await self._change(record.user_id, lambda kept: posted.under(kept, self._now_us()))

    async def history(self, user_id: str) -> KeptHistory:
        """Give what is kept of what the user did; an empty history where nothing is.

        Raises:
            RecordRefusedError: Redis held something else than a history; it is deleted.
            LatentStoreError: Redis failed or took too long.
        """
        async with self._guarded("HGET"):
            _, history = await self._read_history(user_id)
            return history

    async def append(self, user_id: str, events: Sequence[Event], limit: int) -> KeptHistory:
        """Add events to the user's history; who meets another writer reads again.

        Raises:
            RecordRefusedError: Redis held something else than a history; it is deleted. Or what
                comes of it cannot be kept.
            LatentStoreError: Redis failed or took too long; the events may be in all the same.
        """
        async with self._guarded("append"):
            return await self._change(
                user_id, lambda kept: kept.with_events(events, limit, self._now_us())
            )

    async def forget(self, user_id: str) -> None:
        """Drop all that is kept of a user, and note for a while that they were forgotten.

        Raises:
            LatentStoreError: Redis failed or took too long; the user may still be there.
        """
        nothing = history_codec.encode(nothing_since(self._now_us()), user_id)
        async with self._guarded("forget"):
            await self._run(FORGET, codec.key(user_id), nothing, int(1000 * MARK_TTL_S))

    async def ping(self) -> None:
        """Ask whether Redis answers.

        Raises:
            LatentStoreError: It does not, or not in time.
        """
        async with self._guarded("PING"):
            if not await self._client.ping():
                raise LatentStoreError("Redis PING: the answer is not PONG")

    async def close(self) -> None:
        """Close the connections; one that fails to close is gone all the same."""
        with suppress(*FAILURES):
            async with asyncio.timeout(self._timeout_s):
                for client in (self._client, *self._sentinels):
                    await client.aclose()

    async def _read(self, key: str, field: str) -> bytes | None:
        value: object = await self._client.hget(key, field)
        if value is None or isinstance(value, bytes):
            return value
        raise LatentStoreError("Redis HGET: the answer is no string")

    async def _read_history(self, user_id: str) -> tuple[bytes, KeptHistory]:
        """Give the history with its stamp."""
        key = codec.key(user_id)
        value = await self._read(key, HISTORY_FIELD)
        if value is None:
            return NOT_THERE, NO_HISTORY
        try:
            return history_codec.stamp(value), history_codec.decode(value, user_id)
        except RecordRefusedError:
            await self._drop(key, HISTORY_FIELD)
            raise

    async def _change(
        self, user_id: str, change: Callable[[KeptHistory], KeptHistory]
    ) -> KeptHistory:
        while True:  # each turn that is lost is another writer's success
            stamp, before = await self._read_history(user_id)
            after = change(before)
            if after is before:
                return before
            value = history_codec.encode(after, user_id)
            if await self._run(EXTEND, codec.key(user_id), stamp, value, self._ttl_ms(after)):
                return after

    async def _drop(self, key: str, field: str) -> None:
        with suppress(RedisError):  # a replica deletes nothing
            await self._client.hdel(key, field)

    async def _run(self, script: str, key: str, *arguments: str | bytes | int) -> bool:
        done: object = await self._client.eval(script, 1, key, *arguments)
        if done not in {0, 1}:
            raise LatentStoreError("Redis EVAL: the answer is none of the script's")
        return done == 1

    def _ttl_ms(self, history: KeptHistory) -> int:
        ttl_s = self._ttl_s * (1 - JITTER * self._chance()) if len(history) else MARK_TTL_S
        return max(1, int(1000 * ttl_s))

    @asynccontextmanager
    async def _guarded(self, doing: str) -> AsyncIterator[None]:
        try:
            # One limit over all the steps; limits of the steps would add up.
            async with asyncio.timeout(self._timeout_s), self._free_connections:
                yield
        except FAILURES as error:
            raise LatentStoreError(f"Redis {doing}: {type(error).__name__}") from error
