"""Tiny random models on disk, for tests that need a bundle and not a good one."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from service import canaries, checkpoint
from service.canaries import Canary
from service.catalog import Catalog
from service.histories import UNKNOWN_USER, History
from service.manifest import FORMAT_VERSION, Manifest
from service.retrieval.base import TopK
from service.retrieval.exact import ExactRetriever

CONFIGS: dict[str, dict[str, Any]] = {
    "multvae": {"latent_dim": 4, "hidden_dims": [8]},
    "cdae": {"latent_dim": 6},
}


def write_bundle(
    model_dir: Path,
    architecture: str = "multvae",
    *,
    num_items: int = 30,
    positive_threshold: float | None = None,
    seed: int = 0,
    canary_error: float = 0.0,
) -> Path:
    """Write a bundle of random weights below ``model_dir``, and give ``model_dir``.

    Items are called ``i0``, ``i1`` and so on; the users ``u0``, ``u1``, ``u2`` have a row of
    their own in a CDAE. ``canary_error`` is added to the scores of the canaries.
    """
    generator = torch.Generator().manual_seed(seed)
    user_ids = ["u0", "u1", "u2"] if architecture == "cdae" else []
    model = checkpoint.build_model(architecture, CONFIGS[architecture], num_items, len(user_ids))
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.5, generator=generator)
    catalog = Catalog(
        item_ids=tuple(f"i{index}" for index in range(num_items)),
        titles=("",) * num_items,
        categories=((),) * num_items,
        popularity_I=np.random.default_rng(seed).integers(0, 9, num_items),
    )
    retriever = ExactRetriever(model.item_vectors_IH, model.item_bias_I)
    histories = [History.of([0]), History.of([1, 2, 3])]
    recorded = [
        Canary(c.history, c.user_index, TopK(c.top.item_index_K, c.top.score_K + canary_error))
        for c in canaries.record(model.eval(), retriever, histories, [UNKNOWN_USER] * 2)
    ]
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        name=architecture,
        architecture=architecture,
        config=CONFIGS[architecture],
        training={},
        data={},
        metrics={},
        positive_threshold=positive_threshold,
        num_items=num_items,
        num_users=len(user_ids),
        versions={},
        created_at=datetime(2026, 1, 2, tzinfo=UTC),
        files={},
    )
    files = checkpoint.bundle_files(model, catalog, user_ids, recorded)
    checkpoint.save(manifest, files, model_dir)
    return model_dir


@pytest.fixture
def tiny_bundle(tmp_path: Path) -> Callable[..., Path]:
    """Write bundles: ``tiny_bundle(architecture, num_items=..., ...)`` gives the directory."""

    def write(architecture: str = "multvae", **settings: Any) -> Path:  # noqa: ANN401 - as write_bundle
        return write_bundle(tmp_path / architecture, architecture, **settings)

    return write
