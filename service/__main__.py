"""``python -m service``: the server, with everything from ``FOLDIN_`` variables."""

import os
import signal
import socket
import sys
from typing import Final, NoReturn

import uvicorn
from fastapi import FastAPI

from service.app import create_app
from service.checkpoint import resolve
from service.deployment import Deployment
from service.device import pick_device
from service.errors import FoldinError, SettingsError
from service.settings import Settings
from service.telemetry import Telemetry, configure_logging

# An orchestrator kills after 10 s as a rule: leave time to close what is open.
SHUTDOWN_S: Final = 8


def main() -> None:
    """Serve until a signal; a wrong setting or checkpoint is one line and exit code 2 or 1."""
    try:
        serve(Settings())
    except FoldinError as error:
        sys.stderr.write(f"foldin: {type(error).__name__}: {error}\n")
        sys.exit(2 if isinstance(error, SettingsError) else 1)


def serve(settings: Settings) -> None:
    """Run the server until SIGINT or SIGTERM; requests under way are answered first.

    Exits the process with status 0 on SIGTERM, and with 1 when the model cannot be loaded.

    Args:
        settings: Also written to the environment: that is where worker processes read them.

    Raises:
        SettingsError: The chosen device is not there, or the port is taken.
        CheckpointError: No bundle is there, or several workers are asked for and it cannot be
            served.
    """
    resolve(settings.model_dir)  # what can be known at once is said in one line, not in a log
    _refuse_taken_port(settings.host, settings.port)
    settings.export()
    configure_logging(settings.log_format, settings.log_level)
    if settings.workers > 1:
        _try_once(settings)
    signal.signal(signal.SIGTERM, _exit_cleanly)
    uvicorn.run(
        "service.__main__:create_worker_app",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        loop="uvloop" if sys.platform != "win32" else "asyncio",
        http="httptools",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )


def create_worker_app() -> FastAPI:
    """Make the app of one server process, from the environment; what the server imports."""
    settings = Settings()
    configure_logging(settings.log_format, settings.log_level)
    return create_app(settings, on_failure=_exit_unready)


def _refuse_taken_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        raise SettingsError(f"cannot listen on {host}:{port}: {error.strerror}") from error


def _try_once(settings: Settings) -> None:
    # A worker that exits is started again, for ever, and its parent's exit code is 0: a bundle
    # that cannot be served is found here, before there are workers.
    Deployment.open(settings.model_dir, pick_device(settings.device), Telemetry())


def _exit_cleanly(*_: object) -> NoReturn:
    # The server answers what is under way, then raises the signal again: an end as it should be.
    sys.exit(0)


def _exit_unready(_: BaseException) -> NoReturn:
    # Not sys.exit, which would end a task of the loop and not the server. Nothing is lost: no
    # request but probes was ever answered.
    sys.stderr.flush()
    os._exit(1)


if __name__ == "__main__":
    main()
