"""Compose projects of their own on a real engine, and callers who count what fails."""

import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WAIT_S = 180.0
# What builds need on this machine (a proxy, a mirror, wheels): a compose file for the services api
# and trainer.
BUILD_OVERRIDE = os.environ.get("DOCKER_BUILD_OVERRIDE")
CALLERS = 4
HISTORY = ["1", "260", "1196"]


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

    def __init__(self, file: str, *options: str) -> None:
        plugin = succeeds("docker", "compose", "version")
        self._command = ["docker", "compose"] if plugin else ["docker-compose"]
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        files = [str(ROOT / "docker" / file), *([BUILD_OVERRIDE] if BUILD_OVERRIDE else [])]
        self._variables = {
            "PUBLISH": f"127.0.0.1:{self.port}",
            "COMPOSE_FILE": os.pathsep.join(files),
            "COMPOSE_PROJECT_NAME": f"foldin-test-{os.getpid()}",
            "COMPOSE_PATH_SEPARATOR": os.pathsep,
            "FOLDIN_RELOAD_POLL_S": "1",
        }
        self.files = files
        self._options = options

    def up(self) -> None:
        self.compose("up", "--build", "--detach", *self._options)

    def down(self) -> None:
        self.compose("down", "--volumes", "--timeout", "5")

    def compose(self, *arguments: str) -> str:
        return run(*self._command, *arguments, **self._variables)

    def script(self, name: str) -> str:
        return run(str(ROOT / "docker" / name), *self.files, **self._variables)

    def containers(self, service: str) -> list[str]:
        return self.compose("ps", "--all", "--quiet", service).split()

    def inspect(self, container: str, part: str) -> str:
        return run("docker", "inspect", "--format", f"{{{{{part}}}}}", container)

    def inside(self, container: str, *command: str) -> str:
        return run("docker", "exec", container, *command)

    def is_healthy(self, service: str) -> bool:
        found = self.containers(service)
        return bool(found) and all(
            self.inspect(container, ".State.Health.Status") == "healthy" for container in found
        )

    def wait_until_healthy(self, *services: str) -> None:
        eventually(lambda: all(map(self.is_healthy, services)))

    def ask(self, path: str, body: object = None) -> tuple[int, dict[str, object]]:
        """Ask once over a connection of its own: the status, and the answer."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            return _ask(connection, path, body)
        finally:
            connection.close()

    def recommend(self, user_id: str = "u1") -> tuple[int, dict[str, object]]:
        return self.ask("/recommend", {"history": HISTORY, "user_id": user_id, "k": 5})

    def kill(self, container: str) -> None:
        """Kill and start again, as an engine does with what crashes; a killed one it leaves."""
        run("docker", "kill", container)
        time.sleep(2)
        run("docker", "start", container)

    @contextmanager
    def under_load(self) -> Iterator[Counter[str]]:
        """Let callers ask without a pause: how many lists by version, how many failures by kind."""
        seen: Counter[str] = Counter()
        ends = threading.Event()
        callers = [
            threading.Thread(target=self._call, args=(f"u{number}", seen, ends))
            for number in range(CALLERS)
        ]
        for caller in callers:
            caller.start()
        time.sleep(1)
        try:
            yield seen
        finally:
            time.sleep(1)
            ends.set()
            for caller in callers:
                caller.join()

    def _call(self, user_id: str, seen: Counter[str], ends: threading.Event) -> None:
        body = {"history": HISTORY, "user_id": user_id, "k": 5}
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        while not ends.is_set():
            try:
                status, answer = _ask(connection, "/recommend", body)
            except (OSError, HTTPException) as error:
                seen[f"failed: {type(error).__name__}"] += 1
                connection.close()
                continue
            if status == 200:
                model = answer["model"]
                assert isinstance(model, dict)
                seen[str(model["version"])] += 1
            else:
                seen[f"failed: {status}"] += 1
        connection.close()


def _ask(connection: HTTPConnection, path: str, body: object) -> tuple[int, dict[str, object]]:
    if body is None:
        connection.request("GET", path)
    else:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    answer: dict[str, object] = json.loads(response.read() or b"{}")
    return response.status, answer


def _started(file: str, *options: str) -> Iterator[Stack]:
    if not succeeds("docker", "info"):
        pytest.skip("no Docker engine answers: apt-get install docker.io docker-compose")
    started = Stack(file, *options)
    try:
        started.up()
        yield started
    finally:
        started.down()


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """The stack of ``compose.yaml``, up."""
    yield from _started("compose.yaml")


@pytest.fixture(scope="module")
def replicas() -> Iterator[Stack]:
    """The stack of ``compose.scale.yaml`` with two replicas, up."""
    yield from _started("compose.scale.yaml", "--scale", "api=2")
