"""Ranges that ``tune`` draws from: all of them are settings that training takes."""

from typing import Any

import pytest

from service.autoencoders import ARCHITECTURES
from training.config import TrainingConfig
from training.presets import PRESETS
from training.search_spaces import SPACES, Choice, Range, Whole

KNOWN = sorted(set(SPACES) & set(ARCHITECTURES))


def edges(values: Range) -> list[Any]:
    return list(values.options) if isinstance(values, Choice) else [values.low, values.high]


@pytest.mark.parametrize("model", KNOWN)
def test_every_edge_of_every_range_is_a_setting_of_the_model(model: str) -> None:
    for name, values in SPACES[model].items():
        for value in edges(values):
            config = TrainingConfig.of({"model": model, name: value})
            assert name in config.architecture or name in TrainingConfig.model_fields


@pytest.mark.parametrize("model", KNOWN)
def test_presets_lie_within_the_ranges(model: str) -> None:
    for sizes in PRESETS.get(model, {}).values():
        for name, values in SPACES[model].items():
            if name in sizes and not isinstance(values, Choice):
                # No weight decay at all is the one value that a logarithmic range cannot hold.
                assert sizes[name] == 0 or values.low <= sizes[name] <= values.high


def test_every_architecture_can_be_tuned() -> None:
    assert set(ARCHITECTURES) <= set(SPACES)


@pytest.mark.parametrize("model", sorted(SPACES))
def test_ranges_are_not_empty(model: str) -> None:
    for values in SPACES[model].values():
        if isinstance(values, Choice):
            assert len(values.options) > 1
        else:
            assert values.low < values.high
            assert isinstance(values, Whole) or not values.log or values.low > 0
