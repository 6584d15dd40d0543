from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from service.deployment import Deployment, Loader
from service.errors import UnknownModelError
from service.fleet import Fleet
from service.split import Split
from service.telemetry import Telemetry

TinyBundle = Callable[..., Path]


@pytest.fixture
def deployments(tiny_bundle: TinyBundle) -> tuple[Deployment, ...]:
    telemetry = Telemetry()
    loaders = [Loader(torch.device("cpu"), telemetry, name=name) for name in ("one", "two")]
    bundle = tiny_bundle("cdae")
    return tuple(Deployment.open(bundle, loader) for loader in loaders)


def test_a_model_is_served_by_name_and_the_first_one_by_default(
    deployments: tuple[Deployment, ...],
) -> None:
    fleet = Fleet(deployments)
    one, two = deployments
    assert fleet.models == [one.current, two.current]
    assert [served.name for served in fleet.models] == ["one", "two"]
    assert fleet.served(None) is fleet.served("one") is one.current
    assert fleet.served("two") is two.current
    assert fleet.deployment("two") is two


def test_a_model_goes_by_the_name_in_its_bundle_where_the_loader_has_none(
    tiny_bundle: TinyBundle,
) -> None:
    loader = Loader(torch.device("cpu"), Telemetry())
    fleet = Fleet.of_one(Deployment.open(tiny_bundle("cdae"), loader))
    assert fleet.served("cdae") is fleet.served(None)


def test_a_model_that_is_not_served_is_named_beside_those_that_are(
    deployments: tuple[Deployment, ...],
) -> None:
    with pytest.raises(UnknownModelError, match="no model 'other' here; served: one, two"):
        Fleet(deployments).served("other")


def test_the_split_answers_users_whose_requests_name_no_model(
    deployments: tuple[Deployment, ...],
) -> None:
    split = Split.parse("one=1,two=1")
    fleet = Fleet(deployments, split)
    users = [f"u{number}" for number in range(50)]
    arms = {user: fleet.chosen(None, user).variant for user in users}
    assert set(arms.values()) == {"one", "two"}
    for user, arm in arms.items():
        assert fleet.chosen(None, user).served.name == arm == split.arm(user)
        assert fleet.chosen("two", user) == (fleet.served("two"), None)
    assert fleet.chosen(None, None) == (fleet.served("one"), None)


def test_without_a_split_the_default_model_answers_everybody(
    deployments: tuple[Deployment, ...],
) -> None:
    assert Fleet(deployments).chosen(None, "u") == (deployments[0].current, None)
