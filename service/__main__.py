"""``python -m service``: the server, with everything from ``FOLDIN_`` variables."""

import os
import signal
import socket
import sys
from typing import NoReturn

from service.app import create_app
from service.availability import require_readable
from service.checkpoint import resolve
from service.errors import FoldinError, SettingsError
from service.lineup import Lineup
from service.server import RELOAD_SIGNAL, exit_cleanly, run
from service.settings import Settings
from service.telemetry import configure_logging
from service.workers import serve_with_workers


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
        settings: What the operator chose.

    Raises:
        SettingsError: The chosen device or a named model is not there, the port is taken, or the
            file of unavailable items cannot be read.
        CheckpointError: No bundle is there, or several workers are asked for and it cannot be
            served.
    """
    for place in Lineup.of(settings).places:
        resolve(place.path)  # what can be known at once is said in one line, not in a log
    configure_logging(settings.log_format, settings.log_level)
    require_readable(settings.unavailable_file)
    _refuse_taken_port(settings.host, settings.port)
    if settings.workers > 1:
        serve_with_workers(settings)
    signal.signal(signal.SIGTERM, exit_cleanly)
    if RELOAD_SIGNAL is not None:  # until the app listens to it; CURRENT is read after that
        signal.signal(RELOAD_SIGNAL, signal.SIG_IGN)
    run(create_app(settings, on_failure=_exit_unready), settings)


def _refuse_taken_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        raise SettingsError(f"cannot listen on {host}:{port}: {error.strerror}") from error


def _exit_unready(_: BaseException) -> NoReturn:
    # Not sys.exit, which would end a task of the loop and not the server. Nothing is lost: no
    # request but probes was ever answered.
    sys.stderr.flush()
    os._exit(1)


if __name__ == "__main__":
    main()
