"""Item-kNN against a dense textbook version."""

import numpy as np
import pytest

from service.histories import UNKNOWN_USER, History, HistoryBatch
from service.retrieval.base import Wanted
from training import neighbours
from training.baselines import Popularity
from training.data.split import Split
from training.evaluate import evaluate
from training.neighbours import ItemNeighbours, NeighboursConfig, fit_neighbours

NOTHING = np.empty(0, dtype=np.int64)


def textbook_scores(
    train_UI: np.ndarray, history: list[int], config: NeighboursConfig
) -> np.ndarray:
    assert config.neighbours is not None
    assert config.exponent is not None
    assert config.shrinkage is not None
    together = train_UI.T @ train_UI
    norm_I = together.diagonal().copy()
    exponent = config.exponent
    scale = np.outer(norm_I**exponent, norm_I ** (1 - exponent)) + config.shrinkage
    similarity = together / scale
    np.fill_diagonal(similarity, 0)
    score_I = np.zeros(len(norm_I))
    for target in range(len(norm_I)):
        nearest = np.argsort(-similarity[:, target], kind="stable")[: config.neighbours]
        score_I[target] = sum(similarity[item, target] for item in history if item in nearest)
    return score_I


def scores_of(ranker: ItemNeighbours, history: list[int], num_items: int) -> np.ndarray:
    batch = HistoryBatch.from_rows([History.of(history)], [UNKNOWN_USER])
    (top,) = ranker.top_k(batch, [Wanted(num_items, NOTHING)])
    score_I = np.empty(num_items)
    score_I[top.item_index_K] = top.score_K
    return score_I


@pytest.mark.parametrize(
    "config",
    [NeighboursConfig(45, 0.5, 0.0), NeighboursConfig(45, 0.7, 10.0)],
)
def test_scores_are_those_of_the_textbook(planted_split: Split, config: NeighboursConfig) -> None:
    ranker, chosen = fit_neighbours(planted_split, config, lambda _: None)
    assert chosen == config
    train_UI = planted_split.train.toarray().astype(np.float64)
    found_I = scores_of(ranker, [1, 4, 20], train_UI.shape[1])
    np.testing.assert_allclose(found_I, textbook_scores(train_UI, [1, 4, 20], config), atol=1e-6)


def test_an_item_keeps_its_nearest_neighbours_only(planted_split: Split) -> None:
    ranker, _ = fit_neighbours(planted_split, NeighboursConfig(3, 0.5, 5.0), lambda _: None)
    weights = ranker.similarity_II.toarray()
    assert ((weights > 0).sum(axis=0) <= 3).all()
    assert not weights.diagonal().any()


def test_blocks_of_items_change_nothing(
    planted_split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = NeighboursConfig(45, 0.7, 1.0)
    whole, _ = fit_neighbours(planted_split, config, lambda _: None)
    monkeypatch.setattr(neighbours, "BLOCK", 7)
    parts, _ = fit_neighbours(planted_split, config, lambda _: None)
    np.testing.assert_allclose(parts.similarity_II.toarray(), whole.similarity_II.toarray())


def test_the_settings_are_those_that_validation_likes_best(planted_split: Split) -> None:
    shares: list[float] = []
    ranker, chosen = fit_neighbours(planted_split, NeighboursConfig(exponent=0.5), shares.append)
    assert sum(shares) == pytest.approx(1)
    best = evaluate(ranker, planted_split.valid).ndcg_at_100
    assert best > evaluate(Popularity(planted_split.train), planted_split.valid).ndcg_at_100
    for count in neighbours.NEIGHBOURS:
        for shrinkage in neighbours.SHRINKAGES:
            other, _ = fit_neighbours(
                planted_split, NeighboursConfig(count, 0.5, shrinkage), lambda _: None
            )
            assert evaluate(other, planted_split.valid).ndcg_at_100 <= best
    assert chosen.exponent == 0.5


def test_what_no_neighbour_speaks_for_is_ordered_by_popularity(planted_split: Split) -> None:
    ranker, _ = fit_neighbours(planted_split, NeighboursConfig(5, 0.5, 0.0), lambda _: None)
    batch = HistoryBatch.from_rows([History.of([])], [UNKNOWN_USER])
    (found,) = ranker.top_k(batch, [Wanted(45, NOTHING)])
    (popular,) = Popularity(planted_split.train).top_k(batch, [Wanted(45, NOTHING)])
    assert found.item_index_K.tolist() == popular.item_index_K.tolist()
