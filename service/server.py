"""The HTTP server of one process: how it listens, what it leaves out, how it drains and ends."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Final, NoReturn, final

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.settings import Settings

# An orchestrator kills after 10 s as a rule: leave time for the grace before, and to close what is
# open.
SHUTDOWN_S: Final = 7
ENDING_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
# None: Windows, which has no such signal.
RELOAD_SIGNAL: Final[signal.Signals | None] = getattr(signal, "SIGHUP", None)
# Longer than proxies keep an idle connection (nginx: 60 s). Who closes it first never sees the
# other's request come too late, and proxies repeat no POST that was.
KEEP_ALIVE_S: Final = 75
# What a caller that has just connected may take to send its request, at the very end.
FIRST_REQUEST_S: Final = 0.5
# How long rows are read at the very end: who posts a known number has sent them by then, and a
# stream without end must leave time to answer what it has sent.
LAST_ROWS_S: Final = 1.0
CLOSE: Final = (b"connection", b"close")


def run(app: FastAPI, settings: Settings, listener: socket.socket | None = None) -> None:
    """Serve until SIGINT or SIGTERM; requests under way are answered first.

    After SIGTERM ``/readyz`` fails at once, while everything is answered for the time of grace:
    each answer asks its caller to connect anew, to wherever its proxy sends it then.

    The signal is raised again once that is done, for the handler that was there before.

    Args:
        app: What answers.
        settings: Host, port and grace.
        listener: A bound socket in their place; other processes may have it too.
    """
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop" if sys.platform != "win32" else "asyncio",
        http=HttpToolsProtocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )
    state = app.state.service
    turns = Turns(state.drain, state.stream_end.come)
    server = DrainingServer(config, settings.drain_grace_s, turns, time.monotonic)
    with contextlib.suppress(KeyboardInterrupt):
        server.run(None if listener is None else [listener])


@final
@dataclass(frozen=True, slots=True)
class Turns:
    """What is told of the way to the end.

    Attributes:
        on_drain: Called when the first signal comes.
        on_last_rows: Called on the loop when nothing more may be read of streams.
    """

    on_drain: Callable[[], None]
    on_last_rows: Callable[[], None]


@final
class DrainingServer(uvicorn.Server):
    """Goes on for a while after SIGTERM, and leaves no caller without an answer.

    Args:
        config: uvicorn's.
        grace_s: How long it goes on; a second signal, or SIGINT, ends the wait.
        turns: Told how far the end has come.
        clock: Seconds from any fixed point, never going back.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        grace_s: float,
        turns: Turns,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(config)
        self._grace_s = grace_s
        self._turns = turns
        self._clock = clock
        self._ends_s: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain; uvicorn calls this as the handler of the ending signals."""
        now_s = self._clock()
        if self._ends_s is None:
            self._turns.on_drain()
            self.config.encoded_headers.append(CLOSE)  # of what is set anew every second
            self.server_state.default_headers.append(CLOSE)  # which requests under way hold, too
            self._ends_s = now_s + (self._grace_s if sig == signal.SIGTERM else 0)
        else:
            self._ends_s = now_s
        super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Tell whether to end now; uvicorn asks ten times a second."""
        ends = await super().on_tick(counter)
        return ends and (self._ends_s is None or self._clock() >= self._ends_s)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take the last callers in, hear them out, and close."""
        asyncio.get_running_loop().call_later(LAST_ROWS_S, self._turns.on_last_rows)
        if sys.platform != "win32":  # where the loop has accepted ahead
            await self._take_last_callers(sockets or [])
        await super().shutdown(sockets)

    async def _take_last_callers(self, sockets: list[socket.socket]) -> None:
        """Stop to listen without a reset.

        The kernel greets callers by itself; closing resets those whom nobody has accepted. So
        they are accepted right before, in the same breath.
        """
        listening = [socket.socket(fileno=os.dup(of.fileno())) for of in self._bound_sockets()]
        for server in self.servers:
            server.close()
        for bound in sockets:
            bound.close()
        accepted: list[socket.socket] = []
        for last in listening:
            last.setblocking(False)
            with last, contextlib.suppress(BlockingIOError):
                while True:
                    accepted.append(last.accept()[0])
        loop = asyncio.get_running_loop()
        for caller in accepted:
            caller.setblocking(False)
            await loop.connect_accepted_socket(self._protocol, caller)
        gives_up_s = self._clock() + FIRST_REQUEST_S
        while self._has_new_callers() and self._clock() < gives_up_s:  # noqa: ASYNC110 - see below
            await asyncio.sleep(0.01)  # as uvicorn waits for its connections, which tell nobody

    def _bound_sockets(self) -> Iterator[socket.socket]:
        for server in self.servers:
            yield from server.sockets

    def _protocol(self) -> asyncio.Protocol:
        app_state = self.lifespan.state
        return HttpToolsProtocol(self.config, self.server_state, app_state)

    def _has_new_callers(self) -> bool:
        return any(
            isinstance(connection, HttpToolsProtocol) and connection.cycle is None
            for connection in self.server_state.connections
        )


@contextlib.contextmanager
def on_reload_signal(call: Callable[[], None]) -> Iterator[None]:
    """Call something on the running loop for each SIGHUP, those included that were held back.

    Nothing where there is no such signal, or outside the main thread, which none reaches.
    """
    if RELOAD_SIGNAL is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(RELOAD_SIGNAL)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(RELOAD_SIGNAL, call)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {RELOAD_SIGNAL})
    try:
        yield
    finally:
        loop.remove_signal_handler(RELOAD_SIGNAL)
        signal.signal(RELOAD_SIGNAL, before)


def exit_cleanly(*_: object) -> NoReturn:
    """Handle the signal that is raised again after the last answer: an end as it should be."""
    sys.exit(0)
