"""The synthetic bundle is a true one, with the structure that it claims."""

import numpy as np
import pytest
import torch

from service import canaries
from service.histories import HistoryBatch
from service.ranker import ModelRanker
from training.bench.subject import Subject
from training.bench.synthetic import (
    Shape,
    histories,
    synthetic_catalog,
    synthetic_log,
    synthetic_model,
)


def test_the_bundle_loads_verifies_and_repeats_its_canaries(subject: Subject) -> None:
    loaded = subject.loaded
    canaries.replay(ModelRanker(loaded.model), loaded.canaries)
    assert loaded.model.num_items == len(loaded.catalog) == 400
    assert loaded.model.item_vectors_IH.shape == (400, 24)
    assert loaded.model.latent_dim == 12


def test_scores_have_the_spread_and_the_love_of_popular_items_that_training_leaves() -> None:
    catalog = synthetic_catalog(3000, seed=1)
    model = synthetic_model(Shape(3000, 200, 80), catalog.popularity_I, seed=1).freeze()
    rows = histories(catalog.popularity_I, 50, 60, np.random.default_rng(2))
    query_BH = model.queries(model.encode(HistoryBatch.from_rows(rows)))
    score_BI = query_BH @ model.item_vectors_IH.T + model.item_bias_I
    assert score_BI.std(dim=1).mean().item() == pytest.approx(3.0, rel=0.1)
    assert 0.4 < query_BH.abs().mean().item() < 0.9
    mean_I = score_BI.mean(dim=0).numpy()
    assert 0.6 < np.corrcoef(mean_I, np.log(catalog.popularity_I))[0, 1] < 0.97
    # Lists are about the user: no two have the same best items.
    lists = {tuple(items_K.tolist()) for items_K in score_BI.topk(10, dim=1).indices}
    assert len(lists) == 50


def test_equal_seeds_give_equal_models_and_other_seeds_others() -> None:
    popularity_I = synthetic_catalog(300, seed=1).popularity_I
    first, again, other = (
        synthetic_model(Shape(300, 16, 8), popularity_I, seed).item_vectors_IH for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_popular_items_are_drawn_more_often_and_each_once() -> None:
    popularity_I = np.array([1] * 50 + [1000] * 50)
    rows = histories(popularity_I, 20, 10, np.random.default_rng(0))
    assert all(len(row) == len(set(row.item_index_N.tolist())) == 10 for row in rows)
    assert np.mean([row.item_index_N.mean() for row in rows]) > 60


def test_no_history_is_longer_than_the_catalogue() -> None:
    (row,) = histories(np.array([3, 0, 2]), 1, 100, np.random.default_rng(0))
    assert row.item_index_N.tolist() == [0, 2]


def test_a_log_has_ones_sorted_rows_and_popular_items() -> None:
    popularity_I = synthetic_catalog(500, seed=0).popularity_I
    rows = synthetic_log(popularity_I, 300, np.random.default_rng(0))
    assert rows.shape == (300, 500)
    assert set(rows.data.tolist()) == {1.0}
    assert rows.has_canonical_format
    count_I = np.bincount(rows.indices, minlength=500)
    popular_I = np.argsort(-popularity_I)
    assert count_I[popular_I[:50]].mean() > 3 * count_I[popular_I[250:]].mean()
    assert np.diff(rows.indptr).min() >= 1
