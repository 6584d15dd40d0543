"""The drawn log: as large as said, the same each time, with popular items and planted tastes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

from training.bench import interaction_log
from training.bench.interaction_log import (
    LogShape,
    parts,
    planted_split,
    training_rows,
    write_parquet,
)
from training.data.datasets import DataOptions, load_dataset

SHAPE = LogShape(users=2_000, items=3_000, mean_length=20, clusters=30)


@pytest.fixture(scope="module")
def rows() -> csr_array:
    return training_rows(SHAPE)


def equal(one: csr_array, other: csr_array) -> bool:
    pairs = ((one.indptr, other.indptr), (one.indices, other.indices))
    return one.shape == other.shape and all(np.array_equal(*pair) for pair in pairs)


def test_it_is_as_large_as_said_and_in_the_order_of_model_input(rows: csr_array) -> None:
    assert rows.shape == (2_000, 3_000)
    assert rows.nnz / 2_000 == pytest.approx(20, rel=0.2)
    assert rows.indices.dtype == rows.indptr.dtype == np.int32
    assert rows.has_canonical_format
    assert (rows.data == 1).all()
    assert np.diff(rows.indptr).min() >= 1


def test_a_seed_gives_one_log_and_users_do_not_depend_on_those_after_them(
    rows: csr_array, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert equal(training_rows(SHAPE), rows)
    assert not equal(training_rows(replace(SHAPE, seed=1)), rows)
    monkeypatch.setattr(interaction_log, "USERS_PER_PART", 500)
    some, more = (training_rows(replace(SHAPE, users=users)) for users in (1_000, 1_700))
    assert equal(some, more[:1_000])


def test_popularity_falls_as_a_power_of_the_rank() -> None:
    pooled = replace(SHAPE, users=20_000, taste_share=0.0)
    counts_I = np.sort(np.bincount(training_rows(pooled).indices, minlength=3_000))[::-1]
    ranks = np.array([0, 20, 100, 500])
    expected = counts_I[100] * 110 / (ranks + 10)
    # The first ones come twice in some histories, and count once.
    np.testing.assert_allclose(counts_I[ranks], expected, rtol=0.2)


def test_items_of_a_cluster_come_together_more_often_than_by_chance(rows: csr_array) -> None:
    def nearest(log: csr_array) -> float:
        """Give the correlation of a popular item with the one that it comes with most."""
        popular = np.argsort(-np.bincount(log.indices, minlength=3_000))[:100]
        correlation = np.corrcoef(log[:, popular].toarray().T)
        np.fill_diagonal(correlation, 0)
        return float(np.median(correlation.max(axis=1)))

    assert nearest(rows) > 0.15
    assert nearest(training_rows(replace(SHAPE, taste_share=0.0))) < 0.1


def test_held_out_users_are_none_of_the_training_users_and_are_asked_for_a_fifth(
    rows: csr_array,
) -> None:
    split = planted_split(SHAPE, held_out=300)
    assert split.train.shape == rows.shape
    assert len(split.user_ids) == 2_000
    assert split.valid.user_ids[0] == "2000"
    assert split.test.user_ids[-1] == "2599"
    for held_out in (split.valid, split.test):
        assert held_out.history.shape == held_out.target.shape == (300, 3_000)
        both = held_out.history.nnz + held_out.target.nnz
        assert held_out.target.nnz / both == pytest.approx(0.2, rel=0.1)
        assert held_out.history.multiply(held_out.target).nnz == 0
        assert (held_out.user_index_U == -1).all()


def test_as_parquet_it_is_a_folder_that_can_be_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: csr_array
) -> None:
    monkeypatch.setattr(interaction_log, "USERS_PER_PART", 800)
    write_parquet(SHAPE, tmp_path / "log")
    assert len(list((tmp_path / "log").iterdir())) == 3
    dataset = load_dataset(str(tmp_path / "log"), DataOptions(min_user_items=1))
    found = dataset.split.train.nnz + sum(
        held_out.history.nnz + held_out.target.nnz
        for held_out in (dataset.split.valid, dataset.split.test)
    )
    drawn = sum(part.nnz for part in parts(SHAPE))
    assert drawn != rows.nnz  # other parts, other users
    assert found == pytest.approx(drawn, rel=0.02)  # but for items that no training user has
