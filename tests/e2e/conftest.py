"""Real server processes on a tiny model."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch

from service import canaries, checkpoint
from service.catalog import Catalog
from service.histories import UNKNOWN_USER, History
from service.manifest import FORMAT_VERSION, Manifest
from service.retrieval.exact import ExactRetriever

ROOT = Path(__file__).parents[2]
NUM_ITEMS = 200
CONFIG = {"latent_dim": 8, "hidden_dims": [16]}
WAIT_S = 60.0


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory with a tiny random Mult-VAE over the items i0 to i199."""
    path = tmp_path_factory.mktemp("models")
    generator = torch.Generator().manual_seed(4)
    model = checkpoint.build_model("multvae", CONFIG, NUM_ITEMS, 0).eval()
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.3, generator=generator)
    catalog = Catalog(
        item_ids=tuple(f"i{index}" for index in range(NUM_ITEMS)),
        titles=("",) * NUM_ITEMS,
        categories=((),) * NUM_ITEMS,
        popularity_I=np.arange(NUM_ITEMS),
    )
    retriever = ExactRetriever(model.item_vectors_IH, model.item_bias_I)
    recorded = canaries.record(model, retriever, [History.of([1, 2])], [UNKNOWN_USER])
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        name="tiny",
        architecture="multvae",
        config=CONFIG,
        training={},
        data={},
        metrics={},
        positive_threshold=None,
        num_items=NUM_ITEMS,
        num_users=0,
        versions={},
        created_at=datetime(2026, 1, 2, tzinfo=UTC),
        files={},
    )
    checkpoint.save(manifest, checkpoint.bundle_files(model, catalog, [], recorded), path)
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
