"""Two replicas behind nginx, for real: killed, replaced, given another model, all under load."""

import time
from typing import Any, TypeAlias

import pytest

Stack: TypeAlias = Any  # of conftest.py, from which no test imports

pytestmark = [pytest.mark.docker, pytest.mark.slow]


METRICS = """
import urllib.request
print(urllib.request.urlopen("http://127.0.0.1:8000/metrics").read().decode())
"""


def failures(seen: dict[str, int]) -> dict[str, int]:
    return {what: count for what, count in seen.items() if what.startswith("failed")}


@pytest.fixture(autouse=True)
def settled(replicas: Stack) -> None:
    replicas.wait_until_healthy("api", "proxy")


def test_both_replicas_get_requests(replicas: Stack) -> None:
    with replicas.under_load() as seen:
        time.sleep(2)
    assert failures(seen) == {}
    for container in replicas.containers("api"):
        assert 'route="/recommend",status="200"' in replicas.inside(
            container, "python", "-c", METRICS
        )


def test_only_the_proxy_has_a_port_and_it_keeps_what_is_of_one_replica_to_itself(
    replicas: Stack,
) -> None:
    for service in ("api", "redis"):
        for container in replicas.containers(service):
            assert replicas.inspect(container, "json .HostConfig.PortBindings") in {"{}", "null"}
    (proxy,) = replicas.containers("proxy")
    assert replicas.inside(proxy, "id", "-u") != "0"
    found = replicas.inside(proxy, "sh", "-c", "getent hosts redis || echo none")
    assert found == "none"
    status, answer = replicas.ask("/models/multvae/reload", {})
    assert (status, answer["status"]) == (409, 409)


def test_a_replica_that_is_killed_fails_nobody(replicas: Stack) -> None:
    killed = replicas.containers("api")[0]
    with replicas.under_load() as seen:
        replicas.kill(killed)
        time.sleep(6)
    assert failures(seen) == {}


def test_all_replicas_are_replaced_without_a_failure(replicas: Stack) -> None:
    before = set(replicas.containers("api"))
    with replicas.under_load() as seen:
        replicas.script("roll.sh")
        time.sleep(3)
    assert failures(seen) == {}
    after = set(replicas.containers("api"))
    assert len(after) == len(before) == 2
    assert not after & before


def test_a_new_model_takes_over_in_all_replicas_without_a_failure(replicas: Stack) -> None:
    train = ("demo", "--no-serve", "--out", "/models", "--epochs", "1")
    with replicas.under_load() as seen:
        replicas.compose("run", "--rm", "--entrypoint", "foldin", "trainer", *train)
        time.sleep(6)
    assert failures(seen) == {}
    assert len(seen) == 2
    versions = {str(replicas.recommend()[1]["model"]) for _ in range(8)}
    assert len(versions) == 1
