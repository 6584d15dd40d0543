"""Server processes to be measured: started, waited for, ended with all their children."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from training.errors import BadInputError

ROOT: Final = Path(__file__).parents[2]
START_LIMIT_S: Final = 120.0
END_LIMIT_S: Final = 10.0
ASK_EVERY_S: Final = 0.01


@final
@dataclass(frozen=True, slots=True)
class Launch:
    """How to start a server.

    Attributes:
        name: In tables.
        arguments: Of Python; ``{port}`` is filled in.
        variables: Environment variables beside those that are there; ``{port}`` as well.
        log: Where its output goes.
        limit_s: Seconds that it may take to become ready.
    """

    name: str
    arguments: Sequence[str]
    variables: Mapping[str, str]
    log: Path
    limit_s: float = START_LIMIT_S


@final
@dataclass(frozen=True, slots=True)
class Server:
    """A server that is ready.

    Attributes:
        name: In tables.
        port: On 127.0.0.1.
        pid: The process that was started; workers are its children.
        ready_s: Seconds from the start of the process to the first 200 of ``/readyz``.
    """

    name: str
    port: int
    pid: int
    ready_s: float


@contextmanager
def running(launch: Launch) -> Iterator[Server]:
    """Start a server in a session of its own, wait until it is ready, end it afterwards.

    Raises:
        BadInputError: It ended, or took too long; the message has the end of its log.
    """
    port = _free_port()
    # A FOLDIN_ variable of this shell would make another service of ours than the one named here.
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("FOLDIN_")}
    chosen = {key: value.format(port=port) for key, value in launch.variables.items()}
    with launch.log.open("ab") as log:
        started_s = time.monotonic()
        process = subprocess.Popen(  # noqa: S603 - our own modules, and no shell
            [sys.executable, *(part.format(port=port) for part in launch.arguments)],
            cwd=ROOT,
            env=inherited | chosen,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        _wait(process, port, launch, started_s)
        yield Server(launch.name, port, process.pid, time.monotonic() - started_s)
    finally:
        _end(process)


def ask(port: int, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    """Ask a server on this machine once: status and body.

    Raises:
        OSError: It does not listen, or hangs up.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        headers = {"Content-Type": "application/json"}
        connection.request("POST" if body else "GET", path, body, headers if body else {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except http.client.HTTPException as error:
        raise ConnectionError(str(error)) from error
    finally:
        connection.close()


def _wait(process: subprocess.Popen[bytes], port: int, launch: Launch, started_s: float) -> None:
    while not _is_ready(port):
        too_late = time.monotonic() > started_s + launch.limit_s
        if process.poll() is not None or too_late:
            tail = launch.log.read_text(errors="replace").strip().splitlines()[-1:]
            raise BadInputError(f"{launch.name} does not start: {' '.join(tail) or 'no word'}")
        time.sleep(ASK_EVERY_S)


def _is_ready(port: int) -> bool:
    try:
        return ask(port, "/readyz")[0] == http.HTTPStatus.OK
    except OSError:
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server; what its parent leaves behind goes with its session."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(END_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
