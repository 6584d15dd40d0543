from pathlib import Path

import numpy as np
import polars as pl
import pytest

from training.data.items import ITEM_SCHEMA, make_catalog, read_items
from training.errors import BadInputError


def items_of(tmp_path: Path, text: str, **columns: str) -> list[tuple[str, str, list[str]]]:
    path = tmp_path / "items.csv"
    path.write_text(text)
    items = read_items(path, columns)
    assert items.schema == ITEM_SCHEMA
    return items.rows()


def test_titles_and_categories_are_read_and_other_columns_are_not(tmp_path: Path) -> None:
    text = 'item_id,title,categories,price\n007," Up, up ",Drama| Comedy||Drama,3\n8,,,\n'
    assert items_of(tmp_path, text) == [("007", "Up, up", ["Drama", "Comedy"]), ("8", "", [])]


def test_columns_may_have_other_names(tmp_path: Path) -> None:
    text = "movieId,name,genres\n1,Up,Drama\n"
    columns = {"item_id": "movieId", "title": "name", "categories": "genres"}
    assert items_of(tmp_path, text, **columns) == [("1", "Up", ["Drama"])]


def test_the_item_id_may_keep_our_name_where_the_log_has_another(tmp_path: Path) -> None:
    assert items_of(tmp_path, "item_id,title\n1,Up\n", item_id="movieId") == [("1", "Up", [])]


def test_ids_alone_are_enough(tmp_path: Path) -> None:
    assert items_of(tmp_path, "item_id\n1\n2\n") == [("1", "", []), ("2", "", [])]


def test_the_word_of_movielens_for_no_genre_is_no_category(tmp_path: Path) -> None:
    text = "item_id,categories\n1,(no genres listed)\n"
    assert items_of(tmp_path, text) == [("1", "", [])]


def test_categories_may_be_lists(tmp_path: Path) -> None:
    frame = pl.DataFrame({"item_id": [1, 2], "categories": [["b", "a", "b", None, ""], None]})
    frame.write_parquet(tmp_path / "items.parquet")
    assert read_items(tmp_path / "items.parquet").rows() == [("1", "", ["b", "a"]), ("2", "", [])]


def test_a_repeated_item_is_named_by_row(tmp_path: Path) -> None:
    with pytest.raises(BadInputError) as refusal:
        items_of(tmp_path, "item_id,title\n1,a\n2,b\n1,c\n")
    assert str(refusal.value) == (
        f"{tmp_path / 'items.csv'}: data row 3 (counted from 1), column 'item_id': "
        "item '1' stands above already; keep one row of it"
    )


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"genre": "x"}, "'genre' is no column of items; there are: item_id, title, categories"),
        ({"title": "name"}, r"items\.csv: no column 'name'; there are: item_id, .*title=NAME"),
    ],
)
def test_a_mapping_that_fits_nothing_is_refused(
    tmp_path: Path, columns: dict[str, str], message: str
) -> None:
    with pytest.raises(BadInputError, match=message):
        items_of(tmp_path, "item_id,genres\n1,a\n", **columns)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("title", "column 'title': a title is text, this column holds Struct"),
        ("categories", r"column 'categories': categories are text split at '\|' or a list of text"),
    ],
)
def test_nested_values_are_refused(tmp_path: Path, column: str, message: str) -> None:
    frame = pl.DataFrame({"item_id": [1], column: [{"a": 1}]})
    frame.write_parquet(tmp_path / "items.parquet")
    with pytest.raises(BadInputError, match=message):
        read_items(tmp_path / "items.parquet")


def test_a_catalog_has_the_items_of_the_vocabulary_in_its_order() -> None:
    items = pl.DataFrame(
        [("3", "Up", ["Drama"]), ("9", "Unseen", []), ("1", "Down", ["A", "B"])],
        schema=ITEM_SCHEMA,
        orient="row",
    )
    catalog = make_catalog(items, ["1", "2", "3"], np.array([5, 6, 7]))
    assert catalog.item_ids == ("1", "2", "3")
    assert catalog.titles == ("Down", "", "Up")
    assert catalog.categories == (("A", "B"), (), ("Drama",))
    assert catalog.popularity_I.tolist() == [5, 6, 7]


def test_a_catalog_can_do_without_an_items_file() -> None:
    catalog = make_catalog(None, ["b", "a"], np.array([1, 1]))
    assert (catalog.item_ids, catalog.titles, catalog.categories) == (
        ("b", "a"),
        ("", ""),
        ((), ()),
    )
