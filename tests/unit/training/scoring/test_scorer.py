"""A scorer answers whom the model can answer, and labels the others."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from service import checkpoint
from service.errors import CanaryMismatchError
from service.histories import History, HistoryBatch
from service.ranker import ModelRanker
from service.retrieval.base import Wanted
from training.scoring.plan import ScoringPlan
from training.scoring.scorer import SCHEMA, Scorer


def test_each_user_has_a_list_in_order_and_a_reason_where_it_is_popularity(
    plan: ScoringPlan, histories: pl.DataFrame
) -> None:
    lists = Scorer(plan).lists(histories)
    assert dict(lists.schema) == dict(SCHEMA)
    assert lists["user_id"].to_list() == histories["user_id"].to_list()
    reasons = dict(zip(lists["user_id"], lists["reason"], strict=True))
    assert {user: reason for user, reason in reasons.items() if reason} == {
        "new": "empty_history",
        "strange": "no_known_items",
        "critic": "no_liked_items",
    }
    by_model = lists["source"] == "model"
    assert (by_model == lists["reason"].is_null()).all()
    assert lists["unknown_items"].to_list() == [[], ["x", "y"], [], ["x"], [], [], []]


def test_no_list_has_what_its_user_has_seen_liked_or_not(
    plan: ScoringPlan, histories: pl.DataFrame
) -> None:
    lists = Scorer(plan).lists(histories)
    for seen, found, scores in zip(
        histories["item_ids"], lists["item_ids"], lists["scores"], strict=True
    ):
        assert not set(seen) & set(found)
        assert len(found) == len(scores) == plan.k
        assert scores.is_sorted(descending=True)


def test_seen_items_may_be_kept(plan: ScoringPlan, histories: pl.DataFrame) -> None:
    lists = Scorer(replace(plan, k=100, keep_seen=True)).lists(histories)
    assert lists["item_ids"].list.len().to_list() == [30] * 7


def test_a_list_ends_where_the_catalogue_does(plan: ScoringPlan, histories: pl.DataFrame) -> None:
    lists = Scorer(replace(plan, k=100)).lists(histories)
    assert lists["item_ids"].list.len().to_list() == [28, 29, 30, 30, 28, 29, 28]


def test_weights_and_ratings_reach_the_model(plan: ScoringPlan, histories: pl.DataFrame) -> None:
    loaded = checkpoint.load(plan.bundle)
    rows = [History.of([1, 2], [1.0, 3.0]), History.of([8])]
    wanted = [Wanted(plan.k, np.array([1, 2])), Wanted(plan.k, np.array([8, 9]))]
    tops = ModelRanker(loaded.model).top_k(HistoryBatch.from_rows(rows), wanted)
    lists = Scorer(plan).lists(histories).filter(pl.col("user_id").is_in(["a", "rated"]))
    expected = [[loaded.catalog.item_ids[item] for item in top.item_index_K] for top in tops]
    assert lists["item_ids"].to_list() == expected
    for top, scores in zip(tops, lists["scores"], strict=True):
        assert scores.to_list() == pytest.approx(top.score_K.tolist(), rel=1e-5)


def test_the_size_of_batches_changes_no_list(plan: ScoringPlan, histories: pl.DataFrame) -> None:
    one, other = (Scorer(replace(plan, batch_size=size)).lists(histories) for size in (1, 100))
    assert one["item_ids"].to_list() == other["item_ids"].to_list()


def test_no_user_at_all_is_an_empty_frame(plan: ScoringPlan, histories: pl.DataFrame) -> None:
    assert Scorer(plan).lists(histories.clear()).is_empty()


def test_a_model_that_does_not_repeat_its_trainers_answers_scores_nobody(
    write_bundle: Callable[..., Path], tmp_path: Path, plan: ScoringPlan
) -> None:
    bundle = write_bundle(tmp_path, 30, canary_error=1.0)
    with pytest.raises(CanaryMismatchError):
        Scorer(replace(plan, bundle=bundle))
