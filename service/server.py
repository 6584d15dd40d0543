"""The HTTP server of one process: how it listens, what it leaves out, how long it may drain."""

import contextlib
import signal
import socket
import sys
from typing import Final, NoReturn

import uvicorn
from fastapi import FastAPI

from service.settings import Settings

# An orchestrator kills after 10 s as a rule: leave time to close what is open.
SHUTDOWN_S: Final = 8
ENDING_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def run(app: FastAPI, settings: Settings, listener: socket.socket | None = None) -> None:
    """Serve until SIGINT or SIGTERM; requests under way are answered first.

    The signal is raised again once that is done, for the handler that was there before.

    Args:
        app: What answers.
        settings: Host and port.
        listener: A bound socket in their place; other processes may have it too.
    """
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop" if sys.platform != "win32" else "asyncio",
        http="httptools",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(None if listener is None else [listener])


def exit_cleanly(*_: object) -> NoReturn:
    """Handle the signal that is raised again after the last answer: an end as it should be."""
    sys.exit(0)
