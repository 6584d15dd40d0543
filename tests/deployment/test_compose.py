"""The images and the compose file: what they promise on paper, and once for real."""

import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from service.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
DOCKERFILES = [ROOT / "Dockerfile", ROOT / "docker/trainer.Dockerfile"]
COMPOSE_YAML = ROOT / "docker/compose.yaml"
WORDS = r"\w*(password|passwd|secret|token|api_?key)\w*"
SECRET = re.compile(
    rf"^\s*{WORDS}:\s*\S|{WORDS}\s*=\s*\S|requirepass|://[^\s/]+@", re.IGNORECASE | re.MULTILINE
)
WAIT_S = 120.0

every_image = pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    text = re.sub(r"^#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", "").splitlines()
    pairs = (line.strip().partition(" ") for line in lines if line.strip())
    return [(name.upper(), argument.strip()) for name, _, argument in pairs]


def stages(dockerfile: Path) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Give the instructions that build, and those of the stage that is shipped."""
    listed = instructions(dockerfile)
    last = max(number for number, (name, _) in enumerate(listed) if name == "FROM")
    return listed[:last], listed[last:]


def shipped(dockerfile: Path, wanted: str) -> list[str]:
    return [argument for name, argument in stages(dockerfile)[1] if name == wanted]


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load(COMPOSE_YAML.read_text())
    return parsed


def test_only_the_api_publishes_a_port_and_only_to_this_machine(services: dict[str, Any]) -> None:
    published = {
        name: service["ports"]
        for name, service in services["services"].items()
        if service.get("ports")
    }
    assert list(published) == ["api"]
    (port,) = published["api"]
    assert re.fullmatch(r"\$\{\w+:-127\.0\.0\.1:8000\}:8000", port)


def test_redis_is_reached_from_the_inner_network_only(services: dict[str, Any]) -> None:
    (network,) = services["services"]["redis"]["networks"]
    assert services["networks"][network]["internal"] is True
    assert network in services["services"]["api"]["networks"]


def test_the_api_waits_for_a_trained_model_and_may_only_read_it(services: dict[str, Any]) -> None:
    api, trainer = services["services"]["api"], services["services"]["trainer"]
    conditions = {name: wait["condition"] for name, wait in api["depends_on"].items()}
    assert conditions == {
        "trainer": "service_completed_successfully",
        "redis": "service_healthy",
    }
    assert trainer["restart"] == "no"
    assert trainer["volumes"] == ["models:/models"]
    assert api["volumes"] == ["models:/models:ro"]


def test_redis_keeps_nothing_on_disk_and_has_a_bound(services: dict[str, Any]) -> None:
    command = services["services"]["redis"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--save"] == ""
    assert options["--maxmemory"].endswith("mb")
    assert options["--maxmemory-policy"] == "allkeys-lru"


@every_image
def test_an_image_starts_a_program_and_no_shell(path: Path) -> None:
    (entrypoint,) = shipped(path, "ENTRYPOINT")
    expected = {"Dockerfile": ["python", "-m", "service"], "trainer.Dockerfile": ["foldin"]}
    assert json.loads(entrypoint) == expected[path.name]


def test_both_images_run_as_the_same_user_who_is_not_root() -> None:
    (api_user,), (trainer_user,) = (shipped(path, "USER") for path in DOCKERFILES)
    # By number: an orchestrator can then prove that it is not root.
    assert re.fullmatch(r"[1-9]\d*(:[1-9]\d*)?", api_user)
    # What the trainer writes into the volume, the service must be able to read.
    assert api_user == trainer_user


def test_both_images_are_built_alike() -> None:
    # Equal instructions are equal layers: torch is installed, stored and pushed once.
    service_build, trainer_build = (stages(path)[0] for path in DOCKERFILES)
    assert service_build == trainer_build


def test_the_service_is_healthy_when_it_is_ready() -> None:
    (check,) = shipped(DOCKERFILES[0], "HEALTHCHECK")
    command = json.loads(check.partition("CMD ")[2])
    assert command[0] == "python"
    assert "/readyz" in command[-1]


@pytest.mark.parametrize("path", [*DOCKERFILES, COMPOSE_YAML], ids=lambda path: path.name)
def test_no_secret_is_in_the_files(path: Path) -> None:
    assert SECRET.search(path.read_text()) is None


@pytest.mark.parametrize("path", [*DOCKERFILES, COMPOSE_YAML], ids=lambda path: path.name)
def test_every_variable_is_a_setting_of_the_service(path: Path) -> None:
    known = {PREFIX + field.upper() for field in Settings.model_fields}
    assert set(re.findall(rf"{PREFIX}\w+", path.read_text())) <= known


def test_images_are_built_from_the_packages_alone() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    assert let_in == {"pyproject.toml", "README.md", "LICENSE", "service", "training"}


def run(*command: str, **variables: str) -> str:
    done = subprocess.run(
        command, env=os.environ | variables, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.fail(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def succeeds(*command: str) -> bool:
    found = shutil.which(command[0])
    return bool(found) and not subprocess.run(command, capture_output=True, check=False).returncode


def eventually(is_so: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < give_up_at
        time.sleep(0.2)


class Stack:
    """A compose project of its own, on a free port of this machine."""

    def __init__(self) -> None:
        has_plugin = succeeds("docker", "compose", "version")
        self._command = ["docker", "compose"] if has_plugin else ["docker-compose"]
        self._command += ["--project-name", f"foldin-test-{os.getpid()}"]
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        self.url = f"http://{address}"
        # COMPOSE_FILE may add what builds need on this machine: a proxy, a mirror, wheels.
        files = os.environ.get("COMPOSE_FILE", str(COMPOSE_YAML))
        self._variables = {"PUBLISH": address, "COMPOSE_FILE": files}

    def compose(self, *arguments: str) -> str:
        return run(*self._command, *arguments, **self._variables)

    def state(self, service: str, part: str) -> str:
        container = self.compose("ps", "--all", "--quiet", service)
        return run("docker", "inspect", "--format", f"{{{{.State.{part}}}}}", container)

    def wait_until_ready(self) -> None:
        eventually(lambda: self.state("api", "Health.Status") == "healthy")


@pytest.fixture
def stack() -> Iterator[Stack]:
    if not succeeds("docker", "info"):
        pytest.skip("no Docker engine answers: apt-get install docker.io docker-compose")
    started = Stack()
    try:
        started.compose("up", "--build", "--detach")
        yield started
    finally:
        started.compose("down", "--volumes")


@pytest.mark.e2e
@pytest.mark.slow
def test_the_stack_starts_from_nothing_outlives_redis_and_stops_in_order(stack: Stack) -> None:
    assert stack.state("trainer", "ExitCode") == "0"
    stack.wait_until_ready()
    posted = {"history": ["1", "260", "1196"], "user_id": "u1", "k": 5}
    with httpx.Client(base_url=stack.url, timeout=WAIT_S) as client:
        version = client.post("/recommend", json=posted).json()["model"]["version"]
        eventually(
            lambda: stack.compose("exec", "-T", "redis", "redis-cli", "dbsize").endswith("1")
        )
        assert client.get("/users/u1/recommendations").json()["cache"] == "hit"

        stack.compose("kill", "redis")
        answer = client.post("/recommend", json=posted)
        assert (answer.status_code, answer.json()["source"]) == (200, "model")
        assert client.get("/users/u1/recommendations").status_code == 200

        stack.compose("run", "--rm", "trainer")  # finds the model there
        stack.compose("restart", "api")
        stack.wait_until_ready()
        again = client.post("/recommend", json=posted).json()
        assert again["model"]["version"] == version
    stopped_at = time.monotonic()
    stack.compose("stop", "api")
    assert time.monotonic() - stopped_at < 8  # an engine kills after 10 s
    assert stack.state("api", "ExitCode") == "0"
