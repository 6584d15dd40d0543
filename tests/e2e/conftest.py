"""Real server processes on a tiny model."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NUM_ITEMS = 200
WAIT_S = 60.0


@pytest.fixture(scope="session")
def model_dir(write_bundle: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory with a tiny random Mult-VAE over the items i0 to i199."""
    path = tmp_path_factory.mktemp("models")
    write_bundle(path, NUM_ITEMS, name="tiny")
    return path


class Server:
    """``python -m service`` as a process of its own."""

    def __init__(self, log: Path, **variables: object) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        inherited = {key: value for key, value in os.environ.items() if "FOLDIN_" not in key}
        chosen = {f"FOLDIN_{key.upper()}": str(value) for key, value in variables.items()}
        self.log = log
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "service"],
                cwd=ROOT,
                env=inherited | {"FOLDIN_PORT": str(self.port), "FOLDIN_DEVICE": "cpu"} | chosen,
                stderr=stderr,
                stdout=stderr,
            )

    def wait_until_ready(self) -> None:
        give_up_at = time.monotonic() + WAIT_S
        while not self._is_ready():
            if self.process.poll() is not None or time.monotonic() > give_up_at:
                pytest.fail(f"the server does not start:\n{self.log.read_text()}")
            time.sleep(0.05)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as answer:  # noqa: S310 - our own server
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def end(self) -> None:
        """Kill what is left; a server that a test has stopped is gone already."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(WAIT_S)


@pytest.fixture
def server(model_dir: Path, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start servers: ``server(max_k=5)`` is ready when it comes back, ``wait=False`` is not."""
    servers: list[Server] = []

    def start(*, wait: bool = True, **variables: object) -> Server:
        log = tmp_path / f"server-{len(servers)}.log"
        started = Server(log, **{"model_dir": model_dir, "threads": 1} | variables)
        servers.append(started)
        if wait:
            started.wait_until_ready()
        return started

    yield start
    for started in servers:
        started.end()
