"""The clients that reach a Redis however it is named: a server, by sentinels, or a cluster.

None of them tries again, or takes longer than it may.
"""

from pathlib import Path
from typing import Any, Final

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

from service.errors import SettingsError
from service.latents.redis_address import RedisAddress

# A round trip takes some 0.2 ms: 16 connections carry more than the event loop can.
MAX_CONNECTIONS: Final = 16

# Of a cluster, by its specification.
NUM_SLOTS: Final = 16384

FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


def clients_of(
    address: RedisAddress, timeout_s: float
) -> tuple[Redis | RedisCluster, tuple[Redis, ...]]:
    """Make the client for records, and those that know where its server is; none connects yet.

    Raises:
        SettingsError: The address names a file that there is not.
    """
    for name in FILES:
        if name in address.options and not Path(str(address.options[name])).is_file():
            raise SettingsError(f"the Redis URL cannot be used: {name} names no file")
    if address.kind == "cluster":
        return _cluster(address, timeout_s), ()
    # None, for the store limits the whole: with a limit the client sends through asyncio.wait_for,
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
