"""The loss is the one that was asked for, else the one that suits the catalogue; a line tells."""

from typing import Any

import pytest

from training.errors import BadInputError
from training.loss_choice import NEGATIVES, SAMPLED_FROM_ITEMS, LossChoice, choose_loss

MULTVAE: dict[str, Any] = {"model": "multvae"}


@pytest.mark.parametrize(
    ("num_items", "wanted", "negatives"),
    [
        (SAMPLED_FROM_ITEMS - 1, None, 0),
        (SAMPLED_FROM_ITEMS, None, NEGATIVES),
        (500, "sampled", NEGATIVES),
        (1_000_000, "exact", 0),
    ],
)
def test_what_is_asked_for_wins_over_the_size_of_the_catalogue(
    num_items: int, wanted: LossChoice | None, negatives: int
) -> None:
    config, told = choose_loss(MULTVAE, num_items, wanted)
    assert config.negatives == negatives
    assert told.startswith(f"loss: {'sampled' if negatives else 'exact'}, ")
    assert f"{num_items:,} items" in told


def test_negatives_among_the_settings_are_a_choice_too() -> None:
    config, told = choose_loss(MULTVAE | {"negatives": 70}, 500)
    assert config.negatives == 70
    assert told.startswith("loss: sampled, 70 negatives a step for the 500 items")
    assert choose_loss(MULTVAE | {"negatives": 0}, 10**6)[0].negatives == 0
    assert choose_loss(MULTVAE | {"negatives": 70}, 500, "sampled")[0].negatives == 70


@pytest.mark.parametrize(("wanted", "negatives"), [("exact", 70), ("sampled", 0)])
def test_settings_that_contradict_what_is_asked_for_are_refused(
    wanted: LossChoice, negatives: int
) -> None:
    with pytest.raises(BadInputError, match=f"--loss {wanted} contradicts .* = {negatives}"):
        choose_loss(MULTVAE | {"negatives": negatives}, 500, wanted)


@pytest.mark.parametrize(
    "settings",
    [
        {"model": "ease"},
        {"model": "elsa"},
        {"model": "hybrid"},
        {"model": "autorec-user"},
        {"model": "autoencoder", "loss": "squared"},
    ],
)
def test_a_model_without_a_sampled_loss_is_left_alone_and_cannot_be_asked_for_one(
    settings: dict[str, Any],
) -> None:
    config, told = choose_loss(settings, 10**6)
    assert (config.negatives, told) == (0, "")
    assert choose_loss(settings, 10**6, "exact") == (config, "")
    with pytest.raises(BadInputError, match=f"--loss sampled is not for {settings['model']}"):
        choose_loss(settings, 10**6, "sampled")
