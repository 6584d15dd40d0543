from pathlib import Path
from typing import Any

import pytest

from service.autoencoders import ARCHITECTURES
from training.config import TrainingConfig, parse_setting, read_toml
from training.errors import BadInputError
from training.presets import PRESETS, SIZES, preset


def test_settings_of_the_run_and_of_the_architecture_are_told_apart() -> None:
    config = TrainingConfig.of({"model": "multvae", "latent_dim": 9, "learning_rate": 0.5})
    assert config.architecture == {"latent_dim": 9}
    assert config.learning_rate == 0.5


def test_a_config_survives_json() -> None:
    config = TrainingConfig.of({"model": "cdae", "architecture": {"latent_dim": 9}, "seed": 3})
    assert TrainingConfig.model_validate_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "multvea"}, "unknown model 'multvea'; there are: multvae, cdae"),
        ({}, "unknown model None"),
        ({"model": "multvae", "learning_rates": 1}, "no setting 'learning_rates'.*learning_rate"),
        ({"model": "multvae", "epochs": 0}, "setting epochs: Input should be greater"),
        ({"model": "multvae", "epochs": "many"}, "setting epochs"),
        ({"model": "cdae", "dropout": 0.5}, "cdae has no setting 'dropout'.*corruption"),
        ({"model": "multvae", "latent_dim": "wide"}, "latent_dim"),
        ({"model": "multvae", "latent_dim": 0}, "latent_dim"),
        ({"model": "multvae", "hidden_dims": []}, "hidden_dims"),
        ({"model": "multvae", "dropout": 1}, "dropout"),
        ({"model": "multvae", "dropout": -1}, "dropout"),
        ({"model": "cdae", "corruption": 1.0}, "corruption"),
        ({"model": "cdae", "seed": -1}, "seed"),
        ({"model": "cdae", "seed": 2**70}, "seed"),
        ({"model": "multvae", "architecture": 5}, "architecture"),
        ({"model": "multvae", "learning_rate": float("inf")}, "setting learning_rate"),
        ({"model": "cdae", "loss": "squared", "negatives": 5}, "setting negatives: squares have a"),
        ({"model": "hybrid", "linear_weight": 5}, "linear_weight is not for hybrid: validation"),
        ({"model": "hybrid", "num_weights": 5}, "num_weights is not for hybrid: pruning"),
        ({"model": "hybrid", "loss": "logistic"}, "loss is not for hybrid: each parent has its"),
        (
            {"model": "hybrid", "parents": [{"architecture": "cdae", "weight": 2}]},
            "weight of a parent is not for hybrid: validation",
        ),
        (
            {"model": "hybrid", "parents": [{"architecture": "ease"}]},
            "'ease' cannot be a parent of a hybrid; there are: cdae",
        ),
        ({"model": "ease", "num_weights": 5}, "num_weights is not for ease: pruning"),
        ({"model": "edlae", "architecture": {"num_weights": 5}}, "num_weights is not for edlae"),
        ({"model": "edlae", "loss": "squared"}, "loss is not for edlae: it has a closed form"),
        (
            {"model": "multvae", "negatives": 10**11},
            "negatives: Input should be less than or equal",
        ),
        ({"model": "ease", "negatives": 50}, "negatives is not for ease: it has a closed form"),
        ({"model": "elsa", "negatives": 50}, "negatives is not for elsa: its loss is its own"),
        ({"model": "elsa", "loss": "multinomial"}, "loss is not for elsa: its loss is its own"),
        ({"model": "cdae", "unobserved_weight": 0.5}, "unobserved_weight .* squared loss only"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        TrainingConfig.of(settings)


def test_no_message_speaks_of_the_library_that_checks() -> None:
    with pytest.raises(BadInputError) as refusal:
        TrainingConfig.of({"model": "cdae", "loss": "squared", "negatives": 5})
    assert "Value error" not in str(refusal.value)


def test_settings_that_hold_for_a_whole_comparison_are_taken_by_closed_forms_too() -> None:
    run = {"seed": 3, "threads": 1, "device": "cpu", "epochs": 2, "batch_size": 50}
    assert TrainingConfig.of({"model": "ease", **run}).seed == 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("epochs=3", ("epochs", 3)),
        ("hidden_dims=[600, 200]", ("hidden_dims", [600, 200])),
        ("learning_rate = 1e-3", ("learning_rate", 0.001)),
        ("loss=logistic", ("loss", "logistic")),
        ('loss="logistic"', ("loss", "logistic")),
    ],
)
def test_a_setting_is_read_as_toml_has_it(text: str, expected: tuple[str, object]) -> None:
    assert parse_setting(text) == expected


@pytest.mark.parametrize("text", ["epochs", "=3", ""])
def test_a_setting_without_a_value_is_refused(text: str) -> None:
    with pytest.raises(BadInputError, match="key=value"):
        parse_setting(text)


def test_a_toml_file_is_read_and_a_broken_one_named(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('loss = "logistic"\n[architecture]\nlatent_dim = 7\n')
    assert read_toml(path) == {"loss": "logistic", "architecture": {"latent_dim": 7}}
    path.write_text("loss = ")
    with pytest.raises(BadInputError, match=r"run\.toml"):
        read_toml(path)
    with pytest.raises(BadInputError, match=r"gone\.toml"):
        read_toml(tmp_path / "gone.toml")


@pytest.mark.parametrize("model", sorted(ARCHITECTURES))
def test_every_model_has_a_preset_for_every_size_that_is_a_config(model: str) -> None:
    sizes = {name for name, _ in SIZES}
    assert sizes - {"modest"} <= set(PRESETS[model]) <= sizes
    for num_interactions in (0, 59_999, 60_000, 149_999, 150_000, 10**7):
        TrainingConfig.of(preset(model, num_interactions))


def test_an_unknown_model_has_no_preset_and_says_so_later() -> None:
    assert preset("unheard-of", 5) == {"model": "unheard-of"}
