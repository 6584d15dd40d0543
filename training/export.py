"""Turn a trained model into a bundle that the service can prove it loaded right."""

import platform
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np

from service import canaries, checkpoint
from service.autoencoders.base import Autoencoder
from service.canaries import Canary
from service.histories import UNKNOWN_USER, History
from service.manifest import FORMAT_VERSION, Manifest
from service.ranker import ModelRanker
from training.config import TrainingConfig
from training.data.datasets import Dataset
from training.errors import TrainingDivergedError

# From nobody's history to a long one. Items are drawn by chance: a bundle holds no user's data.
CANARY_LENGTHS: Final = (0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144)
ADVICE: Final = "nothing was exported: lower learning_rate, or raise what regularises"
WRITERS: Final = ("foldin", "torch", "numpy", "safetensors")


def export(
    model: Autoencoder,
    dataset: Dataset,
    config: TrainingConfig,
    metrics: Mapping[str, Any],
    model_dir: Path,
) -> Path:
    """Write ``model_dir/<version>`` and point ``CURRENT`` at it.

    Args:
        model: With the weights to ship.
        dataset: What it was trained on.
        config: How it was trained.
        metrics: ``valid`` and ``test`` figures of these very weights.
        model_dir: Made if it is not there.

    Returns:
        The directory of the new bundle.

    Raises:
        OSError: The bundle cannot be written; nothing of it is left.
    """
    user_ids = dataset.split.user_ids if model.num_users else ()
    files = checkpoint.bundle_files(
        model, dataset.catalog, user_ids, draw_canaries(model, config.seed)
    )
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        name=config.model,
        architecture=config.model,
        config=asdict(model.config),
        training=config.model_dump(mode="json"),
        data={
            "name": dataset.name,
            "fingerprint": dataset.fingerprint,
            "protocol": dataset.split.protocol,
            "split_seed": dataset.split_seed,
            "train_users": dataset.split.train.shape[0],
            "train_interactions": dataset.split.train.nnz,
        },
        metrics=dict(metrics),
        positive_threshold=dataset.positive_threshold,
        num_items=model.num_items,
        num_users=model.num_users,
        versions={"python": platform.python_version(), **{w: version(w) for w in WRITERS}},
        created_at=datetime.now(UTC),
        files={},
    )
    return checkpoint.save(manifest, files, model_dir)


def draw_canaries(model: Autoencoder, seed: int) -> list[Canary]:
    """Record what a model answers to histories drawn by chance, of ``CANARY_LENGTHS``."""
    generator = np.random.default_rng(seed)
    histories = [_drawn_history(model, length, generator) for length in CANARY_LENGTHS]
    # Half of them as known users, where the model has rows for users.
    users = [
        int(generator.integers(model.num_users)) if model.num_users and number % 2 else UNKNOWN_USER
        for number in range(len(histories))
    ]
    return canaries.record(ModelRanker(model), histories, users)


def refuse_not_finite(model: Autoencoder, seed: int) -> None:
    """Refuse what the last step of a diverging run leaves: its loss was finite before that step.

    Args:
        model: Trained.
        seed: Start of the chance that draws the histories to answer.

    Raises:
        TrainingDivergedError: A weight or an answer is not finite.
    """
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise TrainingDivergedError(f"{name} has a NaN or an infinity; {ADVICE}")
    with np.errstate(over="ignore", invalid="ignore"):  # told here, and in one line
        recorded = draw_canaries(model, seed)
    if not all(np.isfinite(canary.top.score_K).all() for canary in recorded):
        raise TrainingDivergedError(f"the model's scores are not finite; {ADVICE}")


def _drawn_history(model: Autoencoder, length: int, generator: np.random.Generator) -> History:
    item_N = generator.choice(model.num_items, min(length, model.num_items), replace=False)
    if not model.reads_ratings:
        return History.of(item_N)
    scale = model.config.scale
    return History.of(item_N, generator.uniform(scale.lowest, scale.highest, len(item_N)))
