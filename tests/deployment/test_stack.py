"""The stack of one API, for real: built, started, looked at, broken, stopped."""

import time
from typing import Any, TypeAlias

import pytest

from service.settings import PREFIX

Stack: TypeAlias = Any  # of conftest.py, from which no test imports

pytestmark = [pytest.mark.docker, pytest.mark.slow]


def failures(seen: dict[str, int]) -> dict[str, int]:
    return {what: count for what, count in seen.items() if what.startswith("failed")}


def test_the_stack_starts_from_nothing_and_recommends(stack: Stack) -> None:
    (trainer,) = stack.containers("trainer")
    assert stack.inspect(trainer, ".State.ExitCode") == "0"
    stack.wait_until_healthy("api")
    status, answer = stack.recommend()
    assert status == 200
    assert answer["source"] == "model"
    assert len(answer["items"]) == 5


@pytest.mark.parametrize("service", ["api", "redis"])
def test_a_container_is_confined(stack: Stack, service: str) -> None:
    (container,) = stack.containers(service)
    assert stack.inside(container, "id", "-u") != "0"
    assert (
        stack.inside(container, "sh", "-c", "touch /x /models/x /app/x 2>/dev/null || echo no")
        == "no"
    )
    capabilities = stack.inside(container, "sed", "-n", "s/^CapBnd:\t//p", "/proc/1/status")
    assert int(capabilities, 16) == 0
    assert stack.inside(container, "sed", "-n", "s/^NoNewPrivs:\t//p", "/proc/1/status") == "1"


def test_the_image_of_the_service_holds_no_training_code_and_no_compiler(stack: Stack) -> None:
    (container,) = stack.containers("api")
    for name in ("training", "polars", "scipy", "optuna", "pip"):
        found = f"import importlib.util as u; print(u.find_spec({name!r}))"
        assert stack.inside(container, "/opt/foldin/bin/python", "-c", found) == "None"
    assert (
        stack.inside(container, "sh", "-c", "command -v cc gcc g++ foldin || echo none") == "none"
    )


def test_no_shell_is_before_the_service_and_no_secret_in_its_environment(stack: Stack) -> None:
    (container,) = stack.containers("api")
    command = stack.inside(container, "sh", "-c", "tr '\\0' ' ' < /proc/1/cmdline").strip()
    assert command.endswith("init -- python -m service")
    assert "redis://" not in stack.inspect(container, "json .Config")
    assert f"{PREFIX}REDIS_URL=" not in stack.inspect(container, "json .Config.Env")


def test_redis_is_reached_by_the_api_alone_and_with_the_password_alone(stack: Stack) -> None:
    (container,) = stack.containers("redis")
    assert stack.inspect(container, "json .HostConfig.PortBindings") in {"{}", "null"}
    networks = stack.inspect(
        container, "range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end"
    )
    assert [name.rpartition("_")[2] for name in networks.split()] == ["inner"]
    assert "NOAUTH" in stack.inside(container, "redis-cli", "dbsize")
    assert stack.recommend("kept")[0] == 200
    status, answer = stack.ask("/users/kept/recommendations")
    assert (status, answer["cache"]) == (200, "hit")


def test_without_redis_nothing_fails(stack: Stack) -> None:
    with stack.under_load() as seen:
        stack.compose("kill", "redis")
        time.sleep(3)
        stack.compose("up", "--detach", "--no-deps", "redis")
        time.sleep(2)
    assert failures(seen) == {}
    assert sum(seen.values()) > 100


def test_a_model_that_is_trained_takes_over_without_a_failure(stack: Stack) -> None:
    train = ("demo", "--no-serve", "--out", "/models", "--epochs", "1")
    with stack.under_load() as seen:
        stack.compose("run", "--rm", "--entrypoint", "foldin", "trainer", *train)
        time.sleep(5)
    assert failures(seen) == {}
    assert len(seen) == 2  # the version before, and the one after


def test_the_trainer_leaves_a_model_that_is_there_alone(stack: Stack) -> None:
    before = stack.recommend()[1]["model"]
    stack.compose("run", "--rm", "trainer")
    assert stack.recommend()[1]["model"] == before


def test_a_stop_while_the_service_starts_is_no_kill(stack: Stack) -> None:
    for pause_s in (0.3, 1.0, 2.0):
        stack.compose("restart", "api")
        time.sleep(pause_s)
        began = time.monotonic()
        stack.compose("stop", "api")
        assert time.monotonic() - began < 10
    stack.compose("up", "--detach", "--no-deps", "api")


def test_a_stop_is_no_kill(stack: Stack) -> None:
    (container,) = stack.containers("api")
    stack.wait_until_healthy("api")
    began = time.monotonic()
    stack.compose("stop", "api")
    assert time.monotonic() - began < 8
    assert stack.inspect(container, ".State.ExitCode") == "0"
