"""The latent store that the replicas of the service share: Redis, which is never trusted.

Redis may be slow, full, gone or lying. Whatever it does, an operation ends within its time, and
in a record, in None or in a ``LatentStoreError``.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, final

from redis.asyncio import (
    Connection,
    ConnectionPool,
    Redis,
    RedisCluster,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, RedisError

from service.errors import LatentStoreError, RecordRefusedError, SettingsError
from service.latents import codec, history_codec
from service.latents.kept_history import NO_HISTORY, Event, KeptHistory
from service.latents.redis_address import RedisAddress
from service.latents.redis_scripts import (
    ADD_DERIVED,
    EXTEND,
    HISTORY_FIELD,
    NOT_THERE,
    REPLACE,
)
from service.latents.store import UserRecord

# What comes of a bad server or network. The parser of the client lets a server's nonsense out as
# a ValueError (a length that is no number) or a RecursionError (lists in lists); the clients for
# sentinels and clusters take it apart unlooked at (the last three).
FAILURES: Final = (
    RedisError, RedisClusterException, OSError, ValueError, RecursionError,
    LookupError, TypeError, AttributeError,
)  # fmt: skip

# A round trip takes some 0.2 ms: 16 connections carry more than the event loop can.
MAX_CONNECTIONS: Final = 16

# Records written together (a batch, a warm-up) expire spread over a tenth of their time.
JITTER: Final = 0.1

# Of a cluster, by its specification.
NUM_SLOTS: Final = 16384

FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


@final
class RedisStore:
    """A ``LatentStore`` in Redis. Making one connects to nothing."""

    def __init__(
        self,
        url: str,
        timeout_s: float,
        ttl_s: float,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Read the address; the first operation connects.

        Args:
            url: As ``RedisAddress`` reads it.
            timeout_s: The longest that any operation takes, with connecting and waiting for a
                free connection. Too short: needless misses. Too long: answers wait for a sick
                Redis.
            ttl_s: The longest that a record is kept after it was put.
            chance: Gives numbers in [0, 1), by which the time to live is shortened up to a tenth.

        Raises:
            SettingsError: The URL cannot be used. The message does not repeat it.
        """
        self._timeout_s = timeout_s
        self._ttl_s = ttl_s
        self._chance = chance
        # The clients' own pools differ in what they do when all connections are taken: before
        # this gate none ever is. Nor has a release to wait then, which a cancellation could cut.
        self._free_connections = asyncio.Semaphore(MAX_CONNECTIONS)
        self._client, self._sentinels = _clients(RedisAddress.parse(url), timeout_s)

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
        value, history = codec.encode(record), history_codec.encode(record.history, record.user_id)
        async with self._guarded("put"):
            if record.is_derived:
                await self._run(ADD_DERIVED, key, history_codec.stamp(history), field, value)
            else:
                await self._run(REPLACE, key, history, self._ttl_ms(), field, value)

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
        key = codec.key(user_id)
        async with self._guarded("append"):
            while True:  # each turn that is lost is another writer's success
                stamp, before = await self._read_history(user_id)
                grown = before.with_events(events, limit)
                if grown is before:
                    return before
                value = history_codec.encode(grown, user_id)
                if await self._run(EXTEND, key, stamp, value, self._ttl_ms()):
                    return grown

    async def forget(self, user_id: str) -> bool:
        """Drop all that is kept of a user; tell whether there was anything.

        Raises:
            LatentStoreError: Redis failed or took too long; the user may still be there.
        """
        async with self._guarded("DEL"):
            return bool(await self._client.delete(codec.key(user_id)))

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

    async def _drop(self, key: str, field: str) -> None:
        with suppress(RedisError):  # a replica deletes nothing
            await self._client.hdel(key, field)

    async def _run(self, script: str, key: str, *arguments: str | bytes | int) -> bool:
        done: object = await self._client.eval(script, 1, key, *arguments)
        if done not in {0, 1}:
            raise LatentStoreError("Redis EVAL: the answer is none of the script's")
        return done == 1

    def _ttl_ms(self) -> int:
        return max(1, int(1000 * self._ttl_s * (1 - JITTER * self._chance())))

    @asynccontextmanager
    async def _guarded(self, doing: str) -> AsyncIterator[None]:
        try:
            # One limit over all the steps; limits of the steps would add up.
            async with asyncio.timeout(self._timeout_s), self._free_connections:
                yield
        except FAILURES as error:
            raise LatentStoreError(f"Redis {doing}: {type(error).__name__}") from error


def _clients(
    address: RedisAddress, timeout_s: float
) -> tuple[Redis | RedisCluster, tuple[Redis, ...]]:
    """Make the client for records, and those that know where its server is."""
    for name in FILES:
        if name in address.options and not Path(str(address.options[name])).is_file():
            raise SettingsError(f"the Redis URL cannot be used: {name} names no file")
    if address.kind == "cluster":
        return _cluster(address, timeout_s), ()
    # None, for _guarded limits the whole: with a limit the client sends through asyncio.wait_for,
    # which before Python 3.12 can swallow a cancellation. One in some thousand operations of a
    # crowd before a hanging Redis then took twice its time.
    common = _common(address, timeout_s, None) | {"db": address.database, **address.login}
    if address.kind == "sentinel":
        return _behind_sentinels(address, common, timeout_s)
    if address.kind == "socket":
        where: dict[str, Any] = {"path": address.name}
        connection: Any = UnixDomainSocketConnection
    else:
        ((host, port),) = address.endpoints
        where = {"host": host, "port": port}
        connection = SSLConnection if address.uses_tls else Connection
    pool = ConnectionPool(connection, MAX_CONNECTIONS, **where, **common)
    return Redis.from_pool(pool), ()


def _common(address: RedisAddress, connect_s: float, read_s: float | None) -> dict[str, Any]:
    return {
        "socket_connect_timeout": connect_s,
        "socket_timeout": read_s,
        "retry": Retry(NoBackoff(), 0),  # the client's default is 10 retries, over seconds
        "protocol": 2,  # no HELLO, no push messages: one request, one answer
        **address.options,
    }


def _behind_sentinels(
    address: RedisAddress, common: dict[str, Any], timeout_s: float
) -> tuple[Redis, tuple[Redis, ...]]:
    # A sentinel that hangs must leave time to ask the next one, and then Redis.
    share_s = timeout_s / (1 + len(address.endpoints))
    asking = _common(address, share_s, share_s)
    asking |= {"ssl": address.uses_tls, **address.sentinel_login}
    sentinel = Sentinel(address.endpoints, sentinel_kwargs=asking)  # type: ignore[no-untyped-call]  # no types
    pool = SentinelConnectionPool(  # type: ignore[no-untyped-call]  # it has no types
        address.name, sentinel, ssl=address.uses_tls, max_connections=MAX_CONNECTIONS, **common
    )
    return Redis.from_pool(pool), tuple(sentinel.sentinels)


def _cluster(address: RedisAddress, timeout_s: float) -> RedisCluster:
    # Half the time: a cancelled operation tells the client nothing, but one that it ends itself
    # makes it ask the other nodes who has the slots of a hanging one.
    cluster = RedisCluster(
        startup_nodes=[ClusterNode(host, port) for host, port in address.endpoints],
        max_connections=MAX_CONNECTIONS,
        ssl=address.uses_tls,
        **_common(address, timeout_s / 2, timeout_s / 2) | dict(address.login),
    )
    cluster.set_response_callback("CLUSTER SLOTS", _checked_slots)
    return cluster


def _checked_slots(response: Any, **_: object) -> Any:  # noqa: ANN401 - it may be anything
    """Refuse ranges that are none: the client counts through them, however long they are."""
    for first, last, *_nodes in response:
        if not 0 <= int(first) <= int(last) < NUM_SLOTS:
            raise ValueError("there are no such slots")
    return response
