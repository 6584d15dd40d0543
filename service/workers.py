"""Several server processes on one port, with one copy of all that they only read.

Where it can, the parent loads the model, makes it prove itself and warms it up, and then forks:
the workers share every page that nobody writes to (weights, tables, catalogue, code), start in
milliseconds and cannot differ. A fork copies no thread, so a pool of threads must not exist by
then; where one does, or on CUDA, the workers are started afresh, load for themselves, and share
the weights' file alone.
"""

import gc
import logging
import multiprocessing
import os
import shutil
import signal
import socket
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final, NoReturn

import torch
from fastapi import FastAPI

from service.agreement import Agreement
from service.app import create_app
from service.deployment import Loader
from service.device import pick_device
from service.errors import SettingsError
from service.lineup import Lineup
from service.server import ENDING_SIGNALS, RELOAD_SIGNAL, exit_cleanly, run
from service.settings import Settings
from service.supervisor import CANNOT_START, Supervisor, let_signals_in
from service.telemetry import Telemetry, configure_logging, forget_process

if sys.platform != "win32":  # which has one worker only, and nothing to share
    import fcntl

logger = logging.getLogger(__name__)

METRICS_FOLDER: Final = "foldin-metrics-"
# A folder that nobody holds may be of a service that starts just now and takes hold at once.
LEFT_OVER_AFTER_S: Final = 60.0
THREADS_OF_THIS_PROCESS: Final = Path("/proc/self/task")


def serve_with_workers(settings: Settings) -> NoReturn:
    """Run ``settings.workers`` server processes; exits with 0 after SIGINT or SIGTERM.

    Exits with 1 when one of the first workers cannot start, or the last one that is left.

    Raises:
        SettingsError: The device or a named model is not there, the port is taken, or metrics
            cannot be shared.
        CheckpointError: A bundle cannot be served.
    """
    if sys.platform == "win32":
        raise SettingsError("several workers need Linux or macOS; on Windows keep 1")
    for number in ENDING_SIGNALS:
        signal.signal(number, exit_cleanly)
    if RELOAD_SIGNAL is not None:  # the model is read after that
        signal.signal(RELOAD_SIGNAL, signal.SIG_IGN)
    with _bound(settings.host, settings.port) as reserved, _metrics_folder() as folder:
        lineup = replace(Lineup.of(settings), agreements=_agreements(folder))
        app = _app_to_fork(settings, folder, lineup)
        supervisor = _supervisor(settings, reserved.getsockname()[:2], folder, lineup, app)
        try:
            code = supervisor.run()
        finally:
            supervisor.end()
    sys.exit(code)


def work(
    settings: Settings,
    listener: socket.socket,
    metrics_folder: Path,
    lineup: Lineup,
    app: FastAPI | None,
) -> None:
    """Be one worker, until a signal or the parent's end.

    Args:
        settings: What the operator chose.
        listener: Bound to the port, and not yet listening.
        metrics_folder: Where the workers keep their metrics.
        lineup: Which models there are, as the parent found them.
        app: With these models, from the parent; None: made here.
    """
    for number in ENDING_SIGNALS:
        signal.signal(number, exit_cleanly)
    let_signals_in()
    configure_logging(settings.log_format, settings.log_level)
    threading.Thread(target=_end_with_parent, name="parent-watch", daemon=True).start()
    run(app or _app(settings, metrics_folder, lineup), settings, listener)


def _app_to_fork(settings: Settings, metrics_folder: Path, lineup: Lineup) -> FastAPI | None:
    """Make the app with its models, unless a fork would not carry it over whole."""
    device = pick_device(settings.device)
    if device.type != "cpu" or not THREADS_OF_THIS_PROCESS.exists():
        return None  # neither CUDA nor the system libraries of macOS survive a fork
    torch.set_num_threads(1)  # more would be a pool; each worker sets its own number
    telemetry = Telemetry(metrics_folder)
    fleet = lineup.open(Loader(device, telemetry, settings.retrieval))
    # The parent answers nothing: its figures would tell of these models for ever.
    forget_process(metrics_folder, multiprocessing.current_process().name)
    app = create_app(settings, _exit_for_good, telemetry, lineup, fleet)
    if _fork_would_lose_threads():
        logger.warning("a library runs threads: each worker loads a model of its own")
        return None
    # What is there now stays: collections that walk over it would write to every page of it.
    gc.collect()
    gc.freeze()
    return app


def _app(settings: Settings, metrics_folder: Path, lineup: Lineup) -> FastAPI:
    return create_app(settings, _exit_for_good, Telemetry(metrics_folder), lineup)


def _agreements(metrics_folder: Path) -> Path:
    return metrics_folder / "agreements"


def _supervisor(
    settings: Settings,
    address: tuple[str, int],
    metrics_folder: Path,
    lineup: Lineup,
    app: FastAPI | None,
) -> Supervisor:
    spawn, fork = multiprocessing.get_context("spawn"), multiprocessing.get_context("fork")
    make = spawn.Process if app is None else fork.Process

    def start(name: str) -> BaseProcess:
        # A listener of its own: the kernel deals connections out. From a common one, whoever is
        # awake takes all that wait: of 64 connections at once one worker of two got 37 to 64.
        with _bound(*address) as listener:
            arguments = (settings, listener, metrics_folder, lineup, app)
            process: BaseProcess = make(target=work, args=arguments, name=name)
            process.start()
        return process

    names = [f"worker-{number}" for number in range(settings.workers)]
    fields = {"address": "{}:{}".format(*address), "workers": len(names), "forked": app is not None}
    logger.info("workers start", extra={"fields": fields})

    def forget(name: str) -> None:
        forget_process(metrics_folder, name)
        for folder in _agreements(metrics_folder).glob("*/"):
            Agreement(folder).forget(name)

    return Supervisor(names, start, forget, settings.drain_grace_s)


def _fork_would_lose_threads() -> bool:
    """Tell whether this process has threads that somebody counts on after a fork.

    numpy's BLAS ends its own before a fork, and starts them again when needed; so there is one.
    """
    trial = os.fork()
    if trial == 0:
        os._exit(0)
    os.waitpid(trial, 0)
    return sum(1 for _ in THREADS_OF_THIS_PROCESS.iterdir()) > 1


def _bound(host: str, port: int) -> socket.socket:
    """Bind a socket to a port that others of this service may have too; it does not listen yet."""
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise SettingsError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return bound


@contextmanager
def _metrics_folder() -> Iterator[Path]:
    _remove_left_over()
    try:
        folder = tempfile.TemporaryDirectory(prefix=METRICS_FOLDER)
    except OSError as error:
        raise SettingsError(f"several workers need a temporary folder: {error}") from error
    with folder as name, _held(Path(name)):
        yield Path(name)


def _remove_left_over() -> None:
    """Remove the folders of services that were killed: nobody else would."""
    with suppress(OSError):  # no temporary folder: said by who needs one
        for folder in Path(tempfile.gettempdir()).glob(f"{METRICS_FOLDER}*"):
            with suppress(OSError):  # held, or gone by now
                seen = folder.lstat()
                is_ours = stat.S_ISDIR(seen.st_mode) and seen.st_uid == os.getuid()
                if is_ours and time.time() - seen.st_mtime > LEFT_OVER_AFTER_S:
                    with _held(folder):
                        shutil.rmtree(folder)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold a folder as this service and its forks do; the hold ends with the last of them.

    Raises:
        OSError: Somebody else holds it.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if sys.platform != "win32":
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _end_with_parent() -> None:
    # Whoever kills the parent alone means the service: workers without it would keep the port.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _exit_for_good(_: BaseException) -> NoReturn:
    # Not sys.exit, which would end a task of the loop and not the process.
    sys.stderr.flush()
    os._exit(CANNOT_START)
