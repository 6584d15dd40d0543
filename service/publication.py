"""How a bundle comes to stand in a model directory: whole, or not at all.

One writer at a time: it holds a lock on the directory, which ends with its process (flock).
"""

import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

if sys.platform != "win32":  # whose folders cannot be locked: as on some file systems
    import fcntl

POINTER: Final = "CURRENT"
# What a writer that was killed leaves: a bundle or a pointer, with its process number at the end.
LEFT_OVER: Final = re.compile(rf"\.(\d{{8}}T\d{{6}}Z-[0-9a-f]{{8}}|{POINTER})\.\d+")


def publish(version: str, files: Mapping[str, bytes], model_dir: Path) -> Path:
    """Write ``model_dir/<version>`` and point ``CURRENT`` at it; wait for another writer's end.

    All is written under temporary names and on the disk before anything is renamed: a reader sees
    the old model or the new one, and a full disk or a kill leaves the old one.

    Args:
        version: The bundle's name.
        files: Their contents by name.
        model_dir: Made if it is not there.

    Returns:
        The directory of the new bundle.

    Raises:
        OSError: It cannot be written; nothing of it is left.
    """
    model_dir.mkdir(parents=True, exist_ok=True)
    with _lock_on(model_dir) as is_alone:
        if is_alone:
            _clear(model_dir)
        staged = model_dir / f".{version}.{os.getpid()}"
        pointer = model_dir / f".{POINTER}.{os.getpid()}"
        bundle = staged
        try:
            staged.mkdir()
            for name, content in files.items():
                _write_durably(staged / name, content)
            _write_durably(pointer, version.encode())
            _sync_folder(staged)
            bundle = staged.rename(model_dir / version)
            _sync_folder(model_dir)  # a power cut must not leave the pointer without the bundle
            pointer.rename(model_dir / POINTER)
            _sync_folder(model_dir)
        except BaseException:
            if bundle is staged or pointer.exists():  # else CURRENT names it: Ctrl-C at the end
                shutil.rmtree(bundle, ignore_errors=True)
            with suppress(OSError):
                pointer.unlink()
            raise
    return bundle


@contextmanager
def _lock_on(folder: Path) -> Iterator[bool]:
    """Hold the lock of a folder; False where the file system knows no such locks."""
    if sys.platform == "win32":
        yield False
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            is_alone = True
        except OSError:  # NFS wants a file that is open for writing
            is_alone = False
        yield is_alone
    finally:
        os.close(descriptor)


def _clear(model_dir: Path) -> None:
    """Remove what killed writers left: under the lock, no living one has anything there."""
    for path in model_dir.iterdir():
        if not LEFT_OVER.fullmatch(path.name):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    if sys.platform == "win32":  # where folders cannot be opened
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some file systems cannot: what they can, they have done
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
