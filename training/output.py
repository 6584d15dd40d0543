"""The folder that a run writes to: tried before the training, and one run's at a time."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from safetensors import SafetensorError

from service.publication import POINTER
from training.errors import BadInputError

if sys.platform != "win32":  # as good as a file system without locks
    import fcntl

LOCK_FILE: Final = ".training.lock"


@contextmanager
def held(directory: Path) -> Iterator[None]:
    """Make a folder, write to it, and keep other runs out of it until the end.

    The lock (flock) ends with the process, however that ends; its empty file goes at the end.

    Raises:
        BadInputError: The folder cannot be made or written to, or another run has it.
    """
    path = directory / LOCK_FILE
    with named_faults(directory, "choose another --out"):
        directory.mkdir(parents=True, exist_ok=True)
        pointer = directory / POINTER
        if pointer.is_dir() and not pointer.is_symlink():  # which no bundle can be published over
            raise IsADirectoryError(errno.EISDIR, f"{POINTER} is a directory")
        descriptor = _locked(path)
    try:
        with named_faults(directory, "free some room, or choose another --out"):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, b"%d\n" % os.getpid())
        yield
    finally:
        with suppress(OSError):  # while the lock is held: no other run can hold this very file
            path.unlink()
        os.close(descriptor)


@contextmanager
def named_faults(directory: Path, advice: str) -> Iterator[None]:
    """Give what goes wrong in writing as one line that names the folder, the reason, the advice.

    Raises:
        BadInputError: The disk is full, the folder cannot be written to, and the like.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise BadInputError(f"{directory} cannot be written to: {reason}; {advice}") from error
    except SafetensorError as error:
        reason = str(error).rpartition("I/O error: ")[2]
        raise BadInputError(f"{directory} cannot be written to: {reason}; {advice}") from error


def _locked(path: Path) -> int:
    """Open a file that no other process has locked, and lock it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        if sys.platform == "win32":
            return descriptor
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 20).decode().strip() or "unknown"
            os.close(descriptor)
            raise BadInputError(
                f"{path.parent}: another run (process {holder}) writes here; wait for its end, or "
                "choose another --out"
            ) from error
        except OSError:
            return descriptor  # a file system without locks: as good as it gets
        if _is_still_there(path, descriptor):
            return descriptor
        os.close(descriptor)  # the run before removed the file after it was opened here


def _is_still_there(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
