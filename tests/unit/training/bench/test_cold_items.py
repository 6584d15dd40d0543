"""The measurement of cold items, and what it must find where features say it all."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer import Typer
from typer.testing import CliRunner

from service.catalog import Catalog
from service.histories import History, HistoryBatch
from service.retrieval.base import Wanted
from training.bench.cold_items import Fixed, WithoutItems, category_popularity, hide_items, main
from training.data.datasets import Dataset


def test_hidden_items_are_nowhere_in_training_and_the_only_targets(planted: Dataset) -> None:
    hidden = hide_items(planted, 0.2, np.random.default_rng(1))
    num_warm = len(hidden.warm.catalog)
    names = set(hidden.items["item_id"])
    assert len(names) == 9
    assert names.isdisjoint(hidden.warm.catalog.item_ids)
    assert hidden.warm.split.train.shape[1] == hidden.warm.split.valid.target.shape[1] == 36
    for held_out, warm_history, warm_target in (
        (hidden.asked, True, False),
        (hidden.unshown, True, True),
    ):
        assert (held_out.history.indices < num_warm).all() == warm_history
        assert (held_out.target.indices < num_warm).all() == warm_target
    assert (hidden.asked.target.indices >= num_warm).all()
    assert (hidden.shown.history.indices >= num_warm).any()
    events = planted.split.test.history.nnz + planted.split.test.target.nnz
    targets = hidden.asked.target.nnz + hidden.shown.target.nnz
    assert hidden.shown.history.nnz + targets == events


def test_a_hidden_item_is_as_popular_as_its_categories_are_on_average() -> None:
    popularity_I = np.array([8, 2, 4], dtype=np.int64)
    catalog = Catalog(("a", "b", "c"), ("",) * 3, (("x", "y"), ("x",), ()), popularity_I)
    items = pl.DataFrame({"categories": [["x", "y"], ["z"], []]})
    expected = [(5 + 8) / 2, 14 / 3, 14 / 3]
    assert category_popularity(catalog, items).tolist() == pytest.approx(expected)


def test_items_that_may_not_come_back_do_not() -> None:
    ranker = WithoutItems(Fixed(np.array([3.0, 2.0, 1.0])), np.array([0]))
    nobody = HistoryBatch.from_rows([History.of([])])
    (found,) = ranker.top_k(nobody, [Wanted(3, np.array([2]))])
    assert found.item_index_K.tolist() == [1]


def test_predicted_vectors_find_the_users_of_a_category(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    rows = [
        {"user_id": f"u{user}", "item_id": f"i{item}"}
        for user in range(240)
        for item in generator.choice(30, 12, replace=False) + 30 * (user % 3)
    ]
    pl.DataFrame(rows).write_parquet(tmp_path / "log.parquet")
    items = pl.DataFrame(
        {
            "item_id": [f"i{item}" for item in range(90)],
            "categories": [[f"c{i // 30}"] for i in range(90)],
        }
    )
    items.write_parquet(tmp_path / "items.parquet")
    app = Typer()
    app.command()(main)
    record = tmp_path / "record.json"
    options = ["--items", tmp_path / "items.parquet", "--json", record, "--share", 0.2, "--seed", 1]
    shape = ["latent_dim=8", "hidden_dims=[16]"]
    settings = [*shape, "epochs=30", "learning_rate=0.005", "batch_size=20", "threads=1"]
    pairs = [word for setting in settings for word in ("--set", setting)]
    arguments = [tmp_path / "log.parquet", "--model", "multvae", *options, *pairs, "--lift", 0.5]
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == 0, done.output
    figures = json.loads(record.read_text())["figures"]
    among = figures["hidden items, ranked among themselves"]
    assert among["predicted vectors"]["ndcg@10"] > 1.5 * among["chance"]["ndcg@10"]
    assert (
        among["predicted vectors"]["ndcg@10"] > 1.5 * among["popularity within category"]["ndcg@10"]
    )
    everywhere = figures["hidden items, ranked among all items"]
    assert everywhere["predicted vectors"]["ndcg@100"] > everywhere["chance"]["ndcg@100"]
