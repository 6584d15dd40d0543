"""Settings as text: what is written is read back."""

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.toml import to_toml

TEXT = st.text(st.characters(codec="utf-8"))
SCALARS = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | TEXT
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=10
)


@given(st.dictionaries(TEXT, VALUES))
def test_what_is_written_is_read_back(settings: dict[str, Any]) -> None:
    assert tomllib.loads(to_toml(settings)) == settings


def test_one_setting_a_line_in_the_given_order_and_none_for_nothing() -> None:
    written = to_toml({"b": 0.001, "a": (600, 200), "l2": None, "parents": [{"x": 1, "y": None}]})
    assert written == "b = 0.001\na = [600, 200]\nparents = [{x = 1}]\n"


def test_what_toml_has_no_word_for_is_an_error() -> None:
    with pytest.raises(TypeError, match="no word"):
        to_toml({"a": {1, 2}})
