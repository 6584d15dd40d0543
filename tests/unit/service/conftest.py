"""Tiny random models on disk, for tests that need a bundle and not a good one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def tiny_bundle(write_bundle: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """Write model directories: ``tiny_bundle(architecture, num_items=..., ...)`` gives the path.

    Items are called ``i0``, ``i1`` and so on; the users ``u0``, ``u1``, ``u2`` have a row of
    their own in a CDAE.
    """

    def write(architecture: str = "multvae", *, num_items: int = 30, **settings: Any) -> Path:  # noqa: ANN401 - as write_bundle
        user_ids = ["u0", "u1", "u2"] if architecture == "cdae" else []
        write_bundle(
            tmp_path / architecture, num_items, architecture, user_ids=user_ids, **settings
        )
        return tmp_path / architecture

    return write
