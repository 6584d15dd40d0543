from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from service import checkpoint
from service.catalog import Catalog
from service.ranker import ModelRanker
from training.controls import controls_table, measure_controls
from training.data.split import HeldOut

NUM_ITEMS = 120


def catalog(categories: tuple[tuple[str, ...], ...]) -> Catalog:
    ids = tuple(f"i{index}" for index in range(NUM_ITEMS))
    return Catalog(ids, ("",) * NUM_ITEMS, categories, np.arange(NUM_ITEMS)[::-1].copy())


def held_out() -> HeldOut:
    generator = np.random.default_rng(0)
    history, target = (
        csr_array((generator.random((12, NUM_ITEMS)) < 0.05).astype(np.float32)) for _ in range(2)
    )
    users = tuple(f"u{index}" for index in range(12))
    return HeldOut(history, target, users, np.full(12, -1))


@pytest.mark.parametrize("architecture", ["multvae", "cdae", "ease"])
def test_each_control_moves_what_it_is_for(
    write_bundle: Callable[..., Path], tmp_path: Path, architecture: str
) -> None:
    shelves = catalog(tuple((f"c{index % 5}",) for index in range(NUM_ITEMS)))
    write_bundle(tmp_path, shelves, architecture)
    model = checkpoint.load(tmp_path, torch.device("cpu")).model
    figures = measure_controls(ModelRanker(model), shelves, held_out())
    plain = figures["none"]
    assert figures["popularity_penalty 0.5"].popularity < plain.popularity
    assert ("diversity 0.5" in figures) == (architecture != "ease")
    assert ("exploration 1" in figures) == (architecture == "multvae")
    if "diversity 0.5" in figures:
        assert figures["diversity 0.5"].likeness < plain.likeness
    assert all(0 <= own.ndcg_at_20 <= 1 and own.categories >= 1 for own in figures.values())
    assert controls_table(figures).row_count == len(figures)


def test_without_categories_nothing_is_calibrated(
    write_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    bare = catalog(((),) * NUM_ITEMS)
    write_bundle(tmp_path, bare)
    model = checkpoint.load(tmp_path, torch.device("cpu")).model
    figures = measure_controls(ModelRanker(model), bare, held_out())
    assert not [name for name in figures if name.startswith("calibration")]
