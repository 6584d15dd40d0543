"""Metrics against a brute force that follows the definitions word by word."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.metrics import RankingMetrics, pooled, ranking_metrics


def textbook_recall(ranked: list[int], targets: set[int], k: int) -> float:
    return len(set(ranked[:k]) & targets) / min(k, len(targets))


def textbook_ndcg(ranked: list[int], targets: set[int], k: int) -> float:
    dcg = sum(1 / math.log2(rank + 1) for rank, item in enumerate(ranked[:k], 1) if item in targets)
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(k, len(targets)) + 1))
    return dcg / ideal


def as_array(items: list[int]) -> np.ndarray:
    return np.array(items, dtype=np.int64)


@st.composite
def users(draw: st.DrawFn) -> list[tuple[list[int], set[int]]]:
    catalogue = draw(st.integers(1, 150))
    ranked = st.permutations(range(catalogue)).flatmap(
        lambda order: st.integers(0, catalogue).map(lambda length: order[:length])
    )
    targets = st.sets(st.integers(0, catalogue - 1), max_size=130)
    return draw(st.lists(st.tuples(ranked, targets), min_size=1, max_size=6))


@given(users())
def test_metrics_equal_the_definitions(measured: list[tuple[list[int], set[int]]]) -> None:
    found = ranking_metrics(
        [as_array(ranked) for ranked, _ in measured],
        [as_array(sorted(targets)) for _, targets in measured],
    )
    counted = [(ranked, targets) for ranked, targets in measured if targets]
    assert found.users == len(counted)
    assert found.users_without_target == len(measured) - len(counted)
    for k in (20, 50):
        expected = [textbook_recall(ranked, targets, k) for ranked, targets in counted] or [0.0]
        assert found.values[f"recall@{k}"] == pytest.approx(np.mean(expected))
    shares = [len(set(ranked[:20]) & targets) / len(targets) for ranked, targets in counted]
    assert found.values["recall_all@20"] == pytest.approx(np.mean(shares or [0.0]))
    for k in (10, 20, 100):
        expected = [textbook_ndcg(ranked, targets, k) for ranked, targets in counted] or [0.0]
        assert found.values[f"ndcg@{k}"] == pytest.approx(np.mean(expected))


def test_a_perfect_list_scores_one_however_many_targets_there_are() -> None:
    for num_targets in (1, 5, 20, 120):
        perfect = as_array(list(range(200)))
        found = ranking_metrics([perfect], [as_array(list(range(num_targets)))])
        of_all = found.values.pop("recall_all@20")
        assert of_all == pytest.approx(min(1, 20 / num_targets))
        assert all(value == pytest.approx(1) for value in found.values.values())


def test_users_without_a_target_are_left_out_and_counted_and_give_no_nan() -> None:
    one, none = as_array([1]), as_array([])
    found = ranking_metrics([as_array([1, 2]), as_array([1, 2])], [one, none])
    assert found.values["recall@20"] == 1
    assert (found.users, found.users_without_target) == (1, 1)
    nobody = ranking_metrics([as_array([1])], [none])
    assert nobody.values["ndcg@100"] == 0
    assert nobody.to_dict()["users"] == 0


def test_the_standard_error_is_that_of_the_mean() -> None:
    lists = [as_array([0]), as_array([1]), as_array([0]), as_array([1])]
    found = ranking_metrics(lists, [as_array([0])] * 4)
    assert found.ndcg_at_100 == 0.5
    assert found.standard_error == pytest.approx(0.25)


@given(users(), st.integers(0, 6), st.integers(0, 6))
def test_metrics_of_shards_pool_to_those_of_all_users(
    measured: list[tuple[list[int], set[int]]], first: int, second: int
) -> None:
    lists = [as_array(ranked) for ranked, _ in measured]
    targets = [as_array(sorted(wanted)) for _, wanted in measured]
    low, high = min(first, second), max(first, second)
    shards = [
        ranking_metrics(lists[part], targets[part])
        for part in (slice(low), slice(low, high), slice(high, None))
    ]
    whole = ranking_metrics(lists, targets).to_dict()
    assert pooled(shards).to_dict() == pytest.approx(whole, abs=1e-9)


def test_flat_figures_are_read_back_as_they_were() -> None:
    found = ranking_metrics([as_array([0]), as_array([1])], [as_array([0])] * 2)
    assert RankingMetrics.of(found.to_dict()) == found
