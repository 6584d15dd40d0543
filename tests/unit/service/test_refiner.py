from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from service import checkpoint
from service.histories import History
from service.ranker import ModelRanker
from service.refiner import MAX_CAUSES, MAX_EXPLAINED, Refiner, Wish

TinyBundle = Callable[..., Path]
LISTED = np.array([3, 40, 77], dtype=np.int64)


def refiner_of(path: Path) -> Refiner:
    loaded = checkpoint.load(path, torch.device("cpu"))
    return Refiner(ModelRanker(loaded.model), loaded.catalog)


def test_a_long_history_is_explained_in_bounded_time(tiny_bundle: TinyBundle) -> None:
    refiner = refiner_of(tiny_bundle(num_items=300))
    history = History.of(np.arange(0, 300, 2))
    assert len(history) > MAX_EXPLAINED
    causes = refiner.causes(history, LISTED)
    assert len(causes) == len(LISTED)
    for own in causes:
        assert len(own) <= MAX_CAUSES
        assert {cause.item_index for cause in own} <= set(history.item_index_N.tolist())


def test_a_history_of_one_entry_is_explained(tiny_bundle: TinyBundle) -> None:
    causes = refiner_of(tiny_bundle(num_items=100)).causes(History.of([5]), LISTED)
    assert {cause.item_index for own in causes for cause in own} <= {5}


def test_a_draw_scales_with_what_is_asked(tiny_bundle: TinyBundle) -> None:
    refiner = refiner_of(tiny_bundle(num_items=100))
    history = History.of([1, 2, 3])
    with torch.inference_mode():
        mean_D = refiner.drawn(history, Wish(exploration=0.0))
        one_D = refiner.drawn(history, Wish(exploration=1.0, seed=4))
        two_D = refiner.drawn(history, Wish(exploration=2.0, seed=4))
    torch.testing.assert_close(two_D - mean_D, 2 * (one_D - mean_D))


def test_a_model_without_a_posterior_draws_nothing(tiny_bundle: TinyBundle) -> None:
    refiner = refiner_of(tiny_bundle("cdae", num_items=100))
    with pytest.raises(TypeError, match="CDAE has no posterior"):
        refiner.drawn(History.of([1]), Wish(exploration=1.0))
