from typing import Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.availability import EVERYTHING_AVAILABLE, Unavailable
from service.catalog import Catalog
from service.recommendation import EVERY_CATEGORY, CategoryFilter
from service.shelf import KEPT_MASKS, Shelf

CATEGORIES: Final = (("a",), ("a", "b"), ("b", "c"), (), ("c",), ("a", "b", "c"))


@pytest.fixture(scope="module")
def shelf() -> Shelf:
    ids = tuple(f"i{number}" for number in range(len(CATEGORIES)))
    popularity_I = np.arange(len(CATEGORIES))
    return Shelf(Catalog(ids, ("",) * len(CATEGORIES), CATEGORIES, popularity_I))


def listed(
    shelf: Shelf,
    categories: CategoryFilter = EVERY_CATEGORY,
    candidates: list[int] | None = None,
    unavailable: Unavailable = EVERYTHING_AVAILABLE,
) -> list[int]:
    candidate_N = None if candidates is None else np.array(candidates, dtype=np.int64)
    shown_I = shelf.shown(categories, candidate_N, unavailable)
    assert shown_I is not None
    return np.flatnonzero(shown_I).tolist()


names = st.lists(st.sampled_from(["a", "b", "c", "nobody's"]), max_size=3).map(tuple)


@given(names, names, names)
def test_the_parts_of_a_filter_mean_what_they_say(
    any_: tuple[str, ...], all_: tuple[str, ...], none: tuple[str, ...]
) -> None:
    shelf = Shelf(Catalog(tuple("012345"), ("",) * 6, CATEGORIES, np.zeros(6, dtype=np.int64)))
    expected = [
        index
        for index, own in enumerate(CATEGORIES)
        if (not any_ or set(any_) & set(own)) and set(all_) <= set(own) and not set(none) & set(own)
    ]
    wish = CategoryFilter(any_, all_, none)
    if wish == EVERY_CATEGORY:
        assert shelf.shown(wish, None, EVERYTHING_AVAILABLE) is None
    else:
        assert listed(shelf, wish) == expected


def test_candidates_are_those_that_the_filter_lets_through(shelf: Shelf) -> None:
    assert listed(shelf, candidates=[5, 0]) == [0, 5]
    assert listed(shelf, candidates=[]) == []
    assert listed(shelf, CategoryFilter(none=("c",)), candidates=[5, 0]) == [0]


def test_what_is_unavailable_is_hidden_from_everybody(shelf: Shelf) -> None:
    unavailable = Unavailable(frozenset({"i0", "nobody's"}), version=1)
    assert listed(shelf, unavailable=unavailable) == [1, 2, 3, 4, 5]
    assert listed(shelf, CategoryFilter(any=("a",)), unavailable=unavailable) == [1, 5]
    assert listed(shelf, CategoryFilter(any=("a",))) == [0, 1, 5]


def test_a_mask_is_made_once_and_cannot_be_written_to(shelf: Shelf) -> None:
    wish = CategoryFilter(all=("b", "c"))
    shown_I = shelf.shown(wish, None, EVERYTHING_AVAILABLE)
    assert shown_I is not None
    assert shown_I is shelf.shown(CategoryFilter(all=("b", "c")), None, EVERYTHING_AVAILABLE)
    with pytest.raises(ValueError, match="read-only"):
        shown_I[0] = True


def test_masks_of_long_ago_are_let_go(shelf: Shelf) -> None:
    wish = CategoryFilter(all=("a",))
    first_I = shelf.shown(wish, None, EVERYTHING_AVAILABLE)
    for number in range(KEPT_MASKS):
        shelf.shown(CategoryFilter(any=(str(number),)), None, EVERYTHING_AVAILABLE)
    assert shelf.shown(wish, None, EVERYTHING_AVAILABLE) is not first_I


def test_a_filter_counts_with_what_is_unavailable(shelf: Shelf) -> None:
    unavailable = Unavailable(frozenset({"i1"}), version=2)
    assert listed(shelf, CategoryFilter(none=("c",)), unavailable=unavailable) == [0, 3]
