from dataclasses import replace

import numpy as np
import pytest
import torch

from service.catalog import Catalog
from service.checkpoint import Checkpoint, build_model
from service.histories import History, HistoryBatch
from service.manifest import Manifest
from service.ranker import ModelRanker
from service.retrieval.base import Wanted
from training import evaluate as module
from training.baselines import Popularity
from training.data.split import Split
from training.evaluate import (
    aligned,
    evaluate,
    evaluate_by_history_length,
    ranked_lists,
)


def test_seen_items_are_never_ranked(planted_split: Split) -> None:
    held_out = planted_split.test
    for user, ranked in enumerate(ranked_lists(Popularity(planted_split.train), held_out)):
        seen = held_out.history[[user]].indices
        assert not set(ranked) & set(seen)
        assert len(ranked) == len(planted_split.item_ids) - len(seen)


def test_blocks_of_users_change_nothing(
    planted_split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    ranker = ModelRanker(build_model("multvae", {"latent_dim": 4, "hidden_dims": (8,)}, 45, 0))
    whole = evaluate(ranker, planted_split.test)
    monkeypatch.setattr(module, "USERS_PER_BLOCK", 7)
    assert evaluate(ranker, planted_split.test).values == pytest.approx(whole.values)
    monkeypatch.setattr(module, "SCORES_PER_BLOCK", 4 * 45)
    assert {len(wanted) for _, wanted in module.blocks(planted_split.test)} == {4, 2}
    assert evaluate(ranker, planted_split.test).values == pytest.approx(whole.values)


def test_bands_of_history_length_cover_everybody(planted_split: Split) -> None:
    measured = evaluate_by_history_length(Popularity(planted_split.train), planted_split.test)
    everybody = measured.pop("all")
    assert set(measured) <= {"history 0-9", "history 10-49", "history 50-199", "history 200+"}
    assert sum(band.users for band in measured.values()) == everybody.users
    weighted = sum(band.ndcg_at_100 * band.users for band in measured.values())
    assert weighted / everybody.users == pytest.approx(everybody.ndcg_at_100)


def test_a_ranker_ranks_as_the_model_scores() -> None:
    torch.manual_seed(0)
    model = build_model("cdae", {"latent_dim": 4}, 45, 3)
    batch = HistoryBatch.from_rows([History.of([1, 2])], [1])
    (top,) = ModelRanker(model).top_k(batch, [Wanted(45, np.array([1, 2]))])
    score_I = (model.encode(batch) @ model.item_vectors_IH.T + model.item_bias_I)[0]
    expected = [i for i in score_I.argsort(descending=True).tolist() if i not in {1, 2}]
    assert top.item_index_K.tolist() == expected


def test_held_out_users_are_expressed_in_the_indices_of_a_bundle(planted_split: Split) -> None:
    """A bundle may know other items in another order; what it lacks is dropped."""
    bundle_items = tuple(reversed(planted_split.item_ids[5:]))
    size = len(bundle_items)
    loaded = Checkpoint(
        model=build_model("cdae", {"latent_dim": 2}, size, 2),
        catalog=Catalog(bundle_items, ("",) * size, ((),) * size, np.zeros(size, dtype=np.int64)),
        user_ids=("v3", "v0"),
        canaries=(),
        manifest=Manifest.model_construct(),
        digest="",
    )
    moved = aligned(planted_split.valid, planted_split.item_ids, loaded)
    assert moved.user_index_U.tolist()[:4] == [1, -1, -1, 0]
    for before, after in (
        (planted_split.valid.history, moved.history),
        (planted_split.valid.target, moved.target),
    ):
        for user in range(30):
            ours = {planted_split.item_ids[i] for i in before[[user]].indices}
            theirs = {bundle_items[i] for i in after[[user]].indices}
            assert theirs == ours & set(bundle_items)


def test_metrics_are_those_of_a_perfect_ranker_when_the_target_is_all_that_is_left(
    planted_split: Split,
) -> None:
    history = planted_split.test.history.toarray()
    rest = replace(planted_split.test, target=type(planted_split.train)(1 - (history > 0)))
    measured = evaluate(Popularity(planted_split.train), rest)
    assert measured.values["ndcg@10"] == pytest.approx(1)
