"""The compose files: what they promise on paper."""

import re
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import yaml

from service.settings import PREFIX, Settings

DOCKER = Path(__file__).parents[2] / "docker"
STACKS = ["compose.yaml", "compose.scale.yaml"]
OVERRIDES = ["compose.gpu.yaml", "compose.observability.yaml"]
WORDS = r"\w*(password|passwd|secret|token|api_?key)\w*"
SECRET = re.compile(
    rf"^[ \t]*{WORDS}:[ \t]*[^\s{{]|{WORDS}\s*=\s*\S|requirepass [^%/]|://[^\s/%]+@",
    re.IGNORECASE | re.MULTILINE,
)
# What a container decides: where it listens, and where its models are.
SET_BY_THE_IMAGE = {"HOST", "PORT", "MODEL_DIR"}

Compose: TypeAlias = dict[str, Any]

every_stack = pytest.mark.parametrize("file", STACKS)


def parsed(file: str) -> Compose:
    content: Compose = yaml.safe_load((DOCKER / file).read_text())
    return content


def conditions(service: Compose) -> dict[str, str]:
    return {name: wait["condition"] for name, wait in service["depends_on"].items()}


@pytest.mark.parametrize(
    ("file", "front"), [("compose.yaml", "api"), ("compose.scale.yaml", "proxy")]
)
def test_one_service_publishes_a_port_and_only_to_this_machine(file: str, front: str) -> None:
    services = parsed(file)["services"]
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert published == {front: ["${PUBLISH:-127.0.0.1:8000}:8000"]}


def test_what_is_for_operators_listens_on_this_machine_alone() -> None:
    for service in parsed("compose.observability.yaml")["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])


@every_stack
def test_redis_is_reached_from_the_inner_network_only(file: str) -> None:
    stack = parsed(file)
    members = {name for name, s in stack["services"].items() if "inner" in s.get("networks", [])}
    assert stack["services"]["redis"]["networks"] == ["inner"]
    assert stack["networks"]["inner"] == {"internal": True}
    assert members == {"redis", "api"}


@every_stack
def test_the_api_waits_for_a_trained_model_and_may_only_read_it(file: str) -> None:
    services = parsed(file)["services"]
    assert conditions(services["api"]) == {
        "trainer": "service_completed_successfully",
        "redis": "service_healthy",
    }
    assert conditions(services["redis"]) == {"secrets": "service_completed_successfully"}
    assert services["trainer"]["restart"] == services["secrets"]["restart"] == "no"
    assert services["trainer"]["volumes"] == ["models:/models"]
    assert services["api"]["volumes"] == ["models:/models:ro", "secrets:/run/secrets:ro"]


@every_stack
def test_redis_keeps_nothing_on_disk_and_has_a_bound(file: str) -> None:
    redis = parsed(file)["services"]["redis"]
    assert redis["command"][:2] == ["redis-server", "/secrets/redis.conf"]
    options = dict(zip(redis["command"][2::2], redis["command"][3::2], strict=True))
    assert options["--save"] == ""
    assert options["--appendonly"] == "no"
    assert options["--maxmemory-policy"] == "allkeys-lru"
    most, limit = options["--maxmemory"], redis["mem_limit"]
    assert int(most.removesuffix("mb")) < int(limit.removesuffix("m"))


@every_stack
def test_every_container_is_confined(file: str) -> None:
    for name, service in parsed(file)["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "privileged" not in service, name


@every_stack
def test_only_who_draws_the_password_is_root_and_reaches_nothing(file: str) -> None:
    services = parsed(file)["services"]
    roots = {name for name, service in services.items() if service.get("user") == "0:0"}
    assert roots == {"secrets"}
    assert services["secrets"]["network_mode"] == "none"
    # The images of the others that are not built here would start as root.
    named = {name for name, service in services.items() if "build" not in service}
    assert all(re.fullmatch(r"\d+:\d+", services[name]["user"]) for name in named)


@every_stack
def test_every_setting_can_be_given(file: str) -> None:
    given = parsed(file)["services"]["api"]["environment"]
    assert set(given) == {
        PREFIX + name.upper()
        for name in Settings.model_fields
        if name.upper() not in SET_BY_THE_IMAGE
    }
    for name, value in given.items():
        assert value is None or value.startswith(f"${{{name}:-"), name


def test_both_stacks_are_the_same_but_for_the_proxy() -> None:
    one, many = (parsed(file)["services"] for file in STACKS)
    assert list(many) == [*one, "proxy"]
    del many["proxy"], one["api"]["ports"]
    for services in (one, many):
        del services["api"]["environment"]["FOLDIN_DRAIN_GRACE_S"]
        del services["api"]["environment"]["FOLDIN_THREADS"]
    assert many == one


def test_a_stop_waits_for_the_grace_and_what_is_under_way() -> None:
    api = parsed("compose.scale.yaml")["services"]["api"]
    (grace,) = re.findall(r":-(\d+)}", api["environment"]["FOLDIN_DRAIN_GRACE_S"])
    assert float(api["stop_grace_period"].removesuffix("s")) > float(grace) + 7


def test_the_gpu_is_asked_for_and_no_slow_start_takes_its_place() -> None:
    api = parsed("compose.gpu.yaml")["services"]["api"]
    (device,) = api["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert api["environment"] == {"FOLDIN_DEVICE": "cuda"}
    assert api["build"] == {"args": {"TORCH_INDEX_URL": ""}}


@pytest.mark.parametrize("file", [*STACKS, *OVERRIDES, "trainer.Dockerfile", "../Dockerfile"])
def test_no_secret_is_in_the_files(file: str) -> None:
    assert SECRET.search((DOCKER / file).read_text()) is None


@pytest.mark.parametrize(
    "line", ["POSTGRES_PASSWORD: x", "redis://:pa55@redis", "requirepass pa55"]
)
def test_a_secret_in_the_files_would_be_found(line: str) -> None:
    assert SECRET.search(line)
