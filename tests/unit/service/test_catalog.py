import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.catalog import UNKNOWN_ITEM, Catalog
from service.errors import CheckpointCorruptError


@pytest.fixture
def catalog() -> Catalog:
    return Catalog(
        item_ids=("a", "b", "c", "d"),
        titles=("Solaris", "Stalker", "The Mirror", "Andrei Rublev: The Passion"),
        categories=(("sci-fi",), ("sci-fi", "drama"), ("drama",), ()),
        popularity_I=np.array([5, 9, 5, 0]),
    )


def test_ids_become_indices_in_order_and_unknown_ids_are_named_once(catalog: Catalog) -> None:
    index_N, unknown = catalog.indices(["c", "x", "a", "x", "y"])
    assert index_N.tolist() == [2, UNKNOWN_ITEM, 0, UNKNOWN_ITEM, UNKNOWN_ITEM]
    assert unknown == ("x", "y")
    index_N, unknown = catalog.indices(["c", "a", "c"])
    assert index_N.tolist() == [2, 0, 2]
    assert index_N.dtype == np.int64
    assert unknown == ()


def test_popularity_ties_go_to_the_smaller_index(catalog: Catalog) -> None:
    assert catalog.by_popularity_I.tolist() == [1, 0, 2, 3]


def test_search_wants_every_word_in_any_case_and_puts_popular_items_first(
    catalog: Catalog,
) -> None:
    assert catalog.search("THE", limit=5) == [2, 3]
    assert catalog.search("passion andrei", limit=5) == [3]
    assert catalog.search("s", limit=2) == [1, 0]
    assert catalog.search("nothing like it", limit=5) == []
    assert catalog.search(" ", limit=2) == [1, 0]


@given(
    titles=st.lists(st.text("abßİ \n", max_size=6), min_size=1, max_size=12),
    words=st.lists(st.text("abßİ", min_size=1, max_size=2), min_size=1, max_size=3),
    limit=st.integers(1, 12),
)
def test_search_finds_what_a_look_at_each_title_finds(
    titles: list[str], words: list[str], limit: int
) -> None:
    popularity_I = np.arange(len(titles)) % 3
    ids = tuple(map(str, range(len(titles))))
    catalog = Catalog(ids, tuple(titles), ((),) * len(titles), popularity_I)
    folded = [word.casefold() for word in words]
    expected = [
        int(index)
        for index in catalog.by_popularity_I
        if all(word in titles[index].casefold() for word in folded)
    ]
    assert catalog.search(" ".join(words), limit) == expected[:limit]


def test_items_of_the_same_categories_share_them() -> None:
    rows = (("a", "b"), ("c",), ("a", "b"), ())
    catalog = Catalog(tuple("wxyz"), ("",) * 4, rows, np.zeros(4, dtype=np.int64))
    again = Catalog.from_json(catalog.to_json())
    assert again.categories == rows
    assert again.categories[0] is again.categories[2]


def test_a_catalogue_survives_the_file(catalog: Catalog) -> None:
    again = Catalog.from_json(catalog.to_json())
    assert again.item_ids == catalog.item_ids
    assert again.titles == catalog.titles
    assert again.categories == catalog.categories
    assert again.popularity_I.tolist() == catalog.popularity_I.tolist()
    assert len(again) == 4


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b'{"item_ids": ["a"], "titles": [], "categories": [[]], "popularity": [1]}',
        b'{"item_ids": ["a","a"],"titles": ["",""],"categories": [[],[]],"popularity": [1,1]}',
        b'{"item_ids": ["a"], "titles": [""], "categories": [[]], "popularity": ["many"]}',
        b'{"item_ids": 3, "titles": [""], "categories": [[]], "popularity": [1]}',
    ],
)
def test_what_is_no_catalogue_is_refused(content: bytes) -> None:
    with pytest.raises(CheckpointCorruptError):
        Catalog.from_json(content)


@pytest.mark.parametrize(
    "count",
    [
        "9223372036854775808",
        "18446744073709551616",
        "-1",
        "[1]",
        "1e300",
        "1.5",
        '"7"',
        "true",
        "null",
    ],
)
def test_popularity_is_a_list_of_counts(count: str) -> None:
    columns = '{"item_ids": ["a"], "titles": [""], "categories": [[]], "popularity": [%s]}'
    assert Catalog.from_json((columns % "7").encode()).popularity_I.tolist() == [7]
    with pytest.raises(CheckpointCorruptError, match="popularity"):
        Catalog.from_json((columns % count).encode())
