"""Keeps worker processes running: starts them, replaces the dead, ends them together."""

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Final, final

from service.server import ENDING_SIGNALS, RELOAD_SIGNAL, SHUTDOWN_S

logger = logging.getLogger(__name__)

# Exit code of a worker that cannot serve: at the start of the service, no other one would either.
CANNOT_START: Final = 3
# Later, what it lacks may come back: room on a disk, a folder. A try costs those that serve a core.
TRY_AGAIN_S: Final = 10.0
# A worker that dies at once is not started faster than this.
MIN_LIFE_S: Final = 1.0
# A worker has drained by SHUTDOWN_S, counted from the end of its grace; what then still runs
# hangs, and is killed before the orchestrator kills everything at 10 s.
KILL_AFTER_S: Final = SHUTDOWN_S + 1.5
POLL_S: Final = 0.2


@final
class Supervisor:
    """Runs a worker under each name until a signal ends them all.

    Args:
        names: One per worker; the one that replaces it has the same.
        start: Starts the process of a name. Its signals are held back until it calls
            ``let_signals_in``.
        on_death: Told the name of each worker that died.
        grace_s: How long workers go on when they are told to end.
    """

    def __init__(
        self,
        names: list[str],
        start: Callable[[str], BaseProcess],
        on_death: Callable[[str], None],
        grace_s: float = 0.0,
    ) -> None:
        self._start = start
        self._on_death = on_death
        self._grace_s = grace_s
        self._may_start_s = dict.fromkeys(names, 0.0)
        self._replaced: set[str] = set()
        self._running: dict[str, BaseProcess] = {}
        self._stopping = False
        self._reload_wanted = False

    def run(self) -> int:
        """Start the workers, replace those that end, until SIGINT or SIGTERM.

        One that cannot start ends the service, but for one that takes the place of another while
        others run: that one is tried again.

        It handles both signals from then on; the workers still run when it returns. SIGHUP is
        passed on to them.

        Returns:
            The exit code: 0 after a signal, 1 when a worker that cannot start ends the service.
        """
        for number in ENDING_SIGNALS:
            signal.signal(number, self._stop)
        if RELOAD_SIGNAL is not None:
            signal.signal(RELOAD_SIGNAL, self._want_reload)
        could_start = True
        while could_start and not self._stopping:
            self._start_missing()
            self._pass_reload_on()
            wait([process.sentinel for process in self._running.values()], POLL_S)
            could_start = self._bury_dead()
        return 0 if could_start else 1

    def end(self) -> None:
        """Let the workers answer what is under way and end; kill those that do not."""
        for process in self._running.values():
            process.terminate()
        give_up_s = time.monotonic() + self._grace_s + KILL_AFTER_S
        for name, process in self._running.items():
            process.join(max(0.0, give_up_s - time.monotonic()))
            if process.is_alive():
                logger.error("a worker hangs and is killed", extra={"fields": {"worker": name}})
                process.kill()
                process.join()

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def _want_reload(self, *_: object) -> None:
        self._reload_wanted = True

    def _pass_reload_on(self) -> None:
        if not self._reload_wanted or RELOAD_SIGNAL is None:
            return
        self._reload_wanted = False
        for process in self._running.values():
            # One that has ended is a zombie until it is buried: its number is nobody else's.
            if process.pid is not None and process.exitcode is None:
                os.kill(process.pid, RELOAD_SIGNAL)

    def _start_missing(self) -> None:
        now_s = time.monotonic()
        for name, may_start_s in self._may_start_s.items():
            if name in self._running or now_s < may_start_s:
                continue
            with _signals_held_back():
                self._running[name] = self._start(name)
            self._may_start_s[name] = now_s + MIN_LIFE_S

    def _bury_dead(self) -> bool:
        """Forget the workers that ended; tell whether others may take their places."""
        dead = [
            (name, process)
            for name, process in self._running.items()
            if process.exitcode is not None
        ]
        for name, process in dead:
            del self._running[name]
            self._on_death(name)
            if self._stopping:
                continue
            fields = {"worker": name, "pid": process.pid, "exit_code": process.exitcode}
            if process.exitcode != CANNOT_START:
                self._replaced.add(name)
                logger.error("a worker ended and is replaced", extra={"fields": fields})
            elif name in self._replaced and self._running:
                self._may_start_s[name] = time.monotonic() + TRY_AGAIN_S
                logger.error("a worker cannot start and is tried again", extra={"fields": fields})
            else:
                return False
        return True


def let_signals_in() -> None:
    """Take the signals that came since the worker's process began; it has its handlers now."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING_SIGNALS)


@contextmanager
def _signals_held_back() -> Iterator[None]:
    # A signal that reached a new process before its handlers are set would be lost to those of
    # its parent, which are the first it has. The one that asks for a reload stays held back until
    # the worker's app listens to it.
    held_back = {*ENDING_SIGNALS} if RELOAD_SIGNAL is None else {*ENDING_SIGNALS, RELOAD_SIGNAL}
    signal.pthread_sigmask(signal.SIG_BLOCK, held_back)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, held_back)
