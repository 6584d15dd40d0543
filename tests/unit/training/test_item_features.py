"""Words and categories as features."""

import numpy as np
import pytest

from training.item_features import ItemText, Vocabulary

KNOWN = ItemText(
    titles=["The Red House (1990)", "the blue house", "A House of Cards", "Cards"],
    categories=[("Drama",), ("drama", "house"), ("Drama",), ("Drama",)],
)


def test_words_and_categories_that_enough_items_share_are_features() -> None:
    assert Vocabulary.of(KNOWN).names == ("category drama", "word house")


def test_what_every_item_has_weighs_less() -> None:
    category, word = Vocabulary.of(KNOWN).weight_F
    assert 0 < category < word
    assert word == pytest.approx(np.sqrt(np.log(5 / 3)))


def test_an_item_has_the_weights_of_its_features_and_an_unlike_one_an_empty_row() -> None:
    vocabulary = Vocabulary.of(KNOWN)
    found = vocabulary.matrix(ItemText(["HOUSE, house!", "nothing"], [["Comedy", "DRAMA"], []]))
    assert found.toarray()[0].tolist() == vocabulary.weight_F.tolist()
    assert np.diff(found.indptr).tolist() == [2, 0]


def test_of_too_many_features_those_stay_that_most_items_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("training.item_features.MAX_FEATURES", 1)
    assert Vocabulary.of(KNOWN).names == ("category drama",)


def test_no_items_have_no_features() -> None:
    vocabulary = Vocabulary.of(ItemText([], []))
    assert vocabulary.names == ()
    assert vocabulary.matrix(KNOWN).shape == (4, 0)
