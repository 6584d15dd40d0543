"""The latent store that the replicas of the service share: Redis, which is never trusted.

Redis may be slow, full, gone or lying. Whatever it does, an operation ends within its time, and
in a record, in None or in a ``LatentStoreError``.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final, final

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from service.errors import LatentStoreError, SettingsError
from service.latents import codec
from service.latents.store import UserRecord

# What comes of a bad server or network. The parser of the client lets a server's nonsense out as
# a ValueError (a length that is no number) or a RecursionError (lists in lists).
FAILURES: Final = (RedisError, OSError, ValueError, RecursionError)

# A round trip takes some 0.2 ms: 16 connections carry more than the event loop can.
MAX_CONNECTIONS: Final = 16

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
    ) -> None:
        """Read the address; the first operation connects.

        Args:
            url: ``redis://[user:password@]host[:port][/db]``, or ``rediss://`` for TLS, or
                ``unix://``; options of the client may follow as a query.
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
        self._client = Redis.from_pool(_connection_pool(url, timeout_s))

    @property
    def name(self) -> str:
        """``redis``."""
        return "redis"

    async def get(self, user_id: str, model_digest: str) -> UserRecord | None:
        """Give the record of this user under this model, or None.

        Raises:
            LatentStoreError: Redis failed, took too long, or held something else than that
                record, which is then deleted.
        """
        key = codec.key(user_id, model_digest)
        async with self._guarded("GET"):
            value = await self._client.get(key)
            if value is None:
                return None
            if not isinstance(value, bytes):
                raise LatentStoreError("Redis GET: the answer is no string")
            try:
                return codec.decode(value, user_id, model_digest)
            except LatentStoreError:
                await self._client.delete(key)
                raise

    async def put(self, record: UserRecord) -> None:
        """Keep a record until it expires or is evicted.

        Raises:
            LatentStoreError: Redis failed or took too long, or the record cannot be kept.
        """
        key = codec.key(record.user_id, record.model_digest)
        value = codec.encode(record)
        ttl_s = self._ttl_s * (1 - JITTER * self._chance())
        async with self._guarded("SET"):
            await self._client.set(key, value, px=max(1, int(1000 * ttl_s)))

    async def delete(self, user_id: str, model_digest: str) -> bool:
        """Forget a user under this model; tell whether there was anything to forget.

        Raises:
            LatentStoreError: Redis failed or took too long; the record may still be there.
        """
        async with self._guarded("DEL"):
            return bool(await self._client.delete(codec.key(user_id, model_digest)))

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
        with suppress(LatentStoreError):
            async with self._guarded("close"):
                await self._client.aclose()

    @asynccontextmanager
    async def _guarded(self, doing: str) -> AsyncIterator[None]:
        try:
            # One limit over all the steps; limits of the steps would add up.
            async with asyncio.timeout(self._timeout_s):
                yield
        except FAILURES as error:
            raise LatentStoreError(f"Redis {doing}: {type(error).__name__}") from error


def _connection_pool(url: str, timeout_s: float) -> BlockingConnectionPool:
    try:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=MAX_CONNECTIONS,
            timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            # None, for _guarded limits the whole: with a limit the client sends through
            # asyncio.wait_for, which before Python 3.12 can swallow a cancellation. One in some
            # thousand operations of a crowd before a hanging Redis then took twice its time.
            socket_timeout=None,
            retry=Retry(NoBackoff(), 0),  # the client's default is 10 retries, over seconds
            protocol=2,  # no HELLO, no push messages: one request, one answer
        )
        # Opens nothing, but an unknown option of the URL shows now and not in a request.
        pool.connection_class(**pool.connection_kwargs)
    except (RedisError, ValueError, TypeError) as error:
        # From None: the cause may quote a piece of the URL, and that may be the password.
        message = f"the Redis URL cannot be used ({type(error).__name__}); "
        raise SettingsError(message + "expected redis://[user:password@]host[:port][/db]") from None
    return pool
