"""Real server processes on a tiny model."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

NUM_ITEMS = 200


@pytest.fixture(scope="session")
def model_dir(write_bundle: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory with a tiny random Mult-VAE over the items i0 to i199."""
    path = tmp_path_factory.mktemp("models")
    write_bundle(path, NUM_ITEMS, name="tiny")
    return path


@pytest.fixture
def server(model_dir: Path, service_process: Callable[..., Any]) -> Callable[..., Any]:
    """Start servers: ``server(max_k=5)`` is ready when it comes back, ``wait=False`` is not."""
    return partial(service_process, model_dir=model_dir)
