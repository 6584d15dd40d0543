"""Every kind of URL, with the real thing behind it as far as one machine has it."""

import asyncio
import shutil
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import pytest
import redis

from service.errors import LatentStoreError
from service.latents.kept_history import Event, KeptHistory
from service.latents.redis_store import RedisStore
from service.latents.store import UserRecord
from service.latents.write_order import wall_clock_us
from service.recommendation import PostedHistory

pytestmark = pytest.mark.redis

# Gives a RedisProcess.
Start = Callable[..., Any]
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
DIGEST: Final = "a1" * 32
PASSWORD: Final = "p@ss/w?rd#%"  # noqa: S105 - of a server that lives as long as its test
IN_URL: Final = "p%40ss%2Fw%3Frd%23%25"
WAIT_S: Final = 10.0


def make_record(user_id: str = "anna") -> UserRecord:
    latent_D = np.ones(4, dtype=np.float32)
    history = KeptHistory(PostedHistory(("i1", "i2")), posted_at_us=wall_clock_us())
    return UserRecord(user_id, DIGEST, latent_D, np.array([1, 2]), np.array([3]), history)


async def keeps(url: str, timeout_s: float = 2) -> None:
    """Ping, put, get, append and forget."""
    store = RedisStore(url, timeout_s, ttl_s=60)
    try:
        await store.ping()
        await store.put(make_record())
        found = await store.get("anna", DIGEST)
        assert found is not None
        assert found.liked_N.tolist() == [1, 2]
        grown = await store.append("anna", [Event("i1")], 10)
        assert await store.history("anna") == grown
        await store.forget("anna")
        assert not len(await store.history("anna"))
        assert await store.get("anna", DIGEST) is None
        await store.put(make_record())
    finally:
        await store.close()


async def test_a_password_may_have_any_letter_and_the_database_a_number(
    redis_process: Start,
) -> None:
    server = redis_process("--requirepass", PASSWORD)
    await keeps(f"redis://:{IN_URL}@127.0.0.1:{server.port}/3")
    await keeps(f"redis://default:{IN_URL}@127.0.0.1:{server.port}?db=3")
    with redis.Redis(port=server.port, db=3, password=PASSWORD) as client:
        assert client.dbsize() == 1
        assert client.info("keyspace").keys() == {"db3"}


async def test_a_socket_is_an_address(redis_process: Start, tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    redis_process("--unixsocket", str(path))
    await keeps(f"unix://{path}?db=1")


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, signed by itself, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with: apt-get install openssl")
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subject = ("-subj", "/CN=foldin-test", "-addext", "subjectAltName=IP:127.0.0.1")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
    command = ("openssl", "req", "-x509", *curve, "-noenc", "-days", "2", *subject)
    made = subprocess.run(
        (*command, "-keyout", key, "-out", cert), capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip(f"this openssl makes no such certificate: {made.stderr.decode()}")
    return cert, key


@asynccontextmanager
async def behind_tls(port: int, certificate: tuple[Path, Path]) -> AsyncIterator[int]:
    """Stand before a server as a TLS proxy would; the redis-server of the wheel has no TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind, to_behind = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(copy(reader, to_behind), copy(behind, writer))

    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.sleep(0.05)  # the talks see that their callers have left


async def test_tls_is_spoken_and_certificates_are_checked(
    redis_process: Start, certificate: tuple[Path, Path]
) -> None:
    server = redis_process("--requirepass", PASSWORD)
    async with behind_tls(server.port, certificate) as port:
        await keeps(f"rediss://:{IN_URL}@127.0.0.1:{port}/1?ssl_ca_certs={certificate[0]}")
        await keeps(
            f"rediss://:{IN_URL}@127.0.0.1:{port}?ssl_cert_reqs=none&ssl_check_hostname=false"
        )
        with pytest.raises(LatentStoreError) as refused:
            await keeps(f"rediss://:{IN_URL}@127.0.0.1:{port}/1")
        assert PASSWORD not in str(refused.value)


@pytest.fixture
def sentinel(redis_binary: str, redis_process: Start, tmp_path: Path) -> Iterator[Any]:
    """A master, its replica and a sentinel that watches them; gives all three."""
    master = redis_process()
    replica = redis_process("--replicaof", "127.0.0.1", str(master.port))
    # Made for its free port only: a sentinel needs a file to write to.
    place = redis_process()
    place.kill()
    config = tmp_path / "sentinel.conf"
    lines = [
        f"port {place.port}",
        "bind 127.0.0.1",
        f"dir {tmp_path}",
        f"sentinel monitor films 127.0.0.1 {master.port} 1",
        "sentinel down-after-milliseconds films 300",
        "sentinel failover-timeout films 1000",
    ]
    config.write_text("\n".join(lines) + "\n")
    watching = subprocess.Popen(
        [redis_binary, str(config), "--sentinel"], stdout=subprocess.DEVNULL
    )
    with redis.Redis(port=place.port, socket_timeout=1) as client:
        give_up_at = time.monotonic() + WAIT_S
        while True:
            with suppress(redis.RedisError):
                if client.execute_command("SENTINEL", "REPLICAS", "films"):
                    break
            assert time.monotonic() < give_up_at, "the sentinel does not find the replica"
            time.sleep(0.05)
    yield master, replica, place.port
    watching.kill()
    watching.wait(WAIT_S)


async def test_sentinels_are_asked_one_after_the_other_and_name_the_server(
    redis_process: Start,
    sentinel: Any,  # noqa: ANN401 - three of them
) -> None:
    master, _, port = sentinel
    hanging, gone = redis_process(), redis_process()
    hanging.pause()
    gone.kill()
    sentinels = f"127.0.0.1:{gone.port},127.0.0.1:{hanging.port},127.0.0.1:{port}"
    await keeps(f"redis+sentinel://{sentinels}/films/2")
    with redis.Redis(port=master.port, db=2) as client:
        assert client.dbsize() == 1
    with pytest.raises(LatentStoreError):
        await keeps(f"redis+sentinel://127.0.0.1:{port}/other")


@pytest.mark.slow
async def test_a_replica_that_takes_over_is_found(sentinel: Any) -> None:  # noqa: ANN401 - three of them
    master, replica, port = sentinel
    store = RedisStore(f"redis+sentinel://127.0.0.1:{port}/films", timeout_s=0.5, ttl_s=60)
    await store.put(make_record("bert"))
    master.pause()
    give_up_at = time.monotonic() + 30
    while True:
        with suppress(LatentStoreError):
            await store.put(make_record())
            break
        assert time.monotonic() < give_up_at
        await asyncio.sleep(0.05)
    assert await store.get("anna", DIGEST) is not None
    with redis.Redis(port=replica.port) as client:
        assert client.role()[0] == b"master"
    await store.close()


@pytest.fixture
def cluster(redis_process: Start) -> Any:  # noqa: ANN401 - a RedisProcess
    """A cluster of one node, which has all slots."""
    server = redis_process("--cluster-enabled", "yes", "--cluster-node-timeout", "1000")
    with redis.Redis(port=server.port) as client:
        client.execute_command("CLUSTER", "ADDSLOTS", *range(16384))
        give_up_at = time.monotonic() + WAIT_S
        while b"cluster_state:ok" not in client.execute_command("CLUSTER", "INFO", NEVER_DECODE=1):
            assert time.monotonic() < give_up_at, "the cluster does not form"
            time.sleep(0.05)
    return server


async def test_a_cluster_is_found_by_any_node_and_may_hang(
    running: Callable[..., Any],
    redis_process: Start,
    cluster: Any,  # noqa: ANN401 - a RedisProcess
) -> None:
    gone = redis_process()
    gone.kill()
    url = f"redis+cluster://127.0.0.1:{gone.port},127.0.0.1:{cluster.port}"
    await keeps(url)
    with redis.Redis(port=cluster.port) as admin:
        assert admin.dbsize() == 1
    async with running(redis_url=url, redis_timeout_ms=200) as client:

        async def cache_of(user_id: str) -> str:
            answer = await client.get(f"/users/{user_id}/recommendations")
            assert answer.status_code == httpx.codes.OK
            return str(answer.json()["cache"])

        async def until(user_id: str, expected: str) -> None:
            give_up_at = time.monotonic() + WAIT_S
            while await cache_of(user_id) != expected:
                assert time.monotonic() < give_up_at
                await asyncio.sleep(0.05)

        await client.post("/recommend", json={"history": ["i1"], "user_id": "anna"})
        await until("nobody", "miss")
        cluster.pause()
        await until("nobody", "error")
        await client.post("/recommend", json={"history": ["i1"], "user_id": "bert"})
        assert await cache_of("bert") == "hit"
        cluster.resume()
        await until("nobody", "miss")
        await until("anna", "hit")
