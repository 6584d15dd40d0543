"""What a model says that it can do is what it does, and nothing else."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from service.catalog import Catalog
from service.deployment import Loader, Served
from service.errors import UnsupportedControlError
from service.recommendation import Controls
from service.supported_controls import require, supported
from service.telemetry import Telemetry

TinyBundle = Callable[..., Path]

ASKED = {
    "diversity": Controls(diversity=0.5),
    "dislikes": Controls(dislikes=("i1",)),
    "exploration": Controls(exploration=1.0),
    "steer": Controls(steer=((0, 1.0),)),
    "popularity_penalty": Controls(popularity_penalty=0.5),
    "calibration": Controls(calibration=0.5),
}
OF_ALL = {"popularity_penalty", "explain"}


def served(path: Path) -> Served:
    return Loader(torch.device("cpu"), Telemetry()).load(path)


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        ("multvae", {"diversity", "dislikes", "exploration", "steer"}),
        ("betavae", {"diversity", "dislikes", "exploration", "steer"}),
        ("recvae", {"diversity", "dislikes", "exploration", "steer"}),
        ("cdae", {"diversity", "dislikes"}),
        ("hybrid", {"diversity", "dislikes"}),
        ("ease", set()),
    ],
)
def test_a_model_grants_what_it_names_and_refuses_the_rest_by_name(
    tiny_bundle: TinyBundle, architecture: str, expected: set[str]
) -> None:
    model = served(tiny_bundle(architecture))
    assert set(supported(model)) == OF_ALL | expected
    for name, controls in ASKED.items():
        if name in supported(model) or name == "calibration":
            require(controls, model)
            continue
        with pytest.raises(UnsupportedControlError, match=f"{name} needs") as refused:
            require(controls, model)
        assert refused.value.field == name


def test_calibration_is_offered_where_there_are_categories(
    write_bundle: Callable[..., Path], tmp_path: Path, tiny_bundle: TinyBundle
) -> None:
    assert "calibration" not in supported(served(tiny_bundle()))
    plain = served(tmp_path / "multvae").catalog
    shelves = tuple(("Drama",) if index == 7 else () for index in range(len(plain)))
    catalog: Catalog = replace(plain, categories=shelves)
    write_bundle(tmp_path / "shelved", catalog)
    assert "calibration" in supported(served(tmp_path / "shelved"))


def test_a_dimension_that_is_not_there_is_named(tiny_bundle: TinyBundle) -> None:
    model = served(tiny_bundle())
    require(Controls(steer=((model.latent_dim - 1, 1.0),)), model)
    with pytest.raises(
        UnsupportedControlError, match=r"steer needs a dimension 4, which .*multvae"
    ):
        require(Controls(steer=((0, 1.0), (4, 1.0))), model)
