"""Logs that were read once, kept in the form in which they lie in memory.

A file of the cache is a row of arrays as ``numpy.save`` writes them, without pickle, and the
sha256 of all that at its end. Its name says what it was made of: the form and size of the files,
the columns asked for and the versions of all that reads (the key), and the sha256 of the files.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO, Final, final

import numpy as np
import orjson
import polars as pl
from numpy.typing import NDArray

from training.data.interactions import InteractionLog
from training.data.log_reader import UNWATCHED, ReadingWatcher, read_log
from training.data.tables import find_files, form_of
from training.data.watched_file import watch_whole
from training.memory import told

FORMAT: Final = 2  # of the files of the cache, and of what reading makes of a log
ENDING: Final = ".foldinlog"
PART: Final = ".part"  # comes behind it while a file is written
WRITING_S: Final = 3600  # a write takes seconds: what stood still for so long nobody goes on with
DIGEST_BYTES: Final = 32
BLOCK_BYTES: Final = 1 << 20
# A smaller log is read in less than a second: the cache would be more trouble than it saves.
MIN_SOURCE_BYTES: Final = 16 * 10**6
MAX_CACHE_BYTES: Final = 4 * 10**9


@final
class LogCache:
    """A folder of logs; those not used for longest go when it grows too large."""

    def __init__(
        self,
        folder: Path,
        min_source_bytes: int = MIN_SOURCE_BYTES,
        max_cache_bytes: int = MAX_CACHE_BYTES,
    ) -> None:
        self._folder = folder
        self._min_source_bytes = min_source_bytes
        self._max_cache_bytes = max_cache_bytes

    def read(
        self, source: Path, columns: Mapping[str, str], watcher: ReadingWatcher = UNWATCHED
    ) -> tuple[InteractionLog, tuple[str, ...]]:
        """Read a log as ``read_log`` does; from the cache if it is there, else into it.

        What is wrong with the cache stops nobody: it is told, and the files are read.

        Returns:
            The log, and lines that tell where it came from and what was wrong.

        Raises:
            BadInputError: One line that says what is wrong with the files.
        """
        paths = find_files(source)
        if sum(path.stat().st_size for path in paths) < self._min_source_bytes:
            return read_log(source, columns, watcher), ()
        key = _key(paths, columns)
        notes: list[str] = []
        # The files are digested as they are read. Only where the cache has files of this form and
        # size are they read for their digest alone: it may save the rest.
        if any(self._folder.glob(f"{key}-*{ENDING}")):
            path = self._path(key, _digest(paths))
            try:
                if path.exists():
                    return _load(path), (f"read from the cache: {path}",)
            except (OSError, ValueError, EOFError) as error:
                notes.append(f"the cache is damaged, the files are read again: {path}: {error}")
        digest = hashlib.sha256()
        before = _states(paths)
        log = read_log(source, columns, watcher, digest.update)
        if _states(paths) == before:
            notes.append(self._keep(log, self._path(key, digest.hexdigest())))
        else:
            # Some forms are read twice, for the digest and for the rows: they may differ now.
            notes.append("not cached: the files changed while they were read")
        return log, tuple(notes)

    def _path(self, key: str, digest: str) -> Path:
        return self._folder / f"{key}-{digest}{ENDING}"

    def _keep(self, log: InteractionLog, path: Path) -> str:
        size = sum(values.nbytes for values in _columns(log))
        if size > self._max_cache_bytes:
            return f"not cached: {told(size)} are more than {told(self._max_cache_bytes)}"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _save(log, path)
            self._trim(path)
        except OSError as error:
            return f"not cached: {error}"
        return f"cached for the next time: {path}"

    def _trim(self, newest: Path) -> None:
        """Remove what was used longest ago, and what a killed process left half written.

        Others may do so at the same time: what is gone is gone. What they still write stays.
        """
        used = sorted(_used(self._folder.glob(f"*{ENDING}*")))
        total = sum(size for _, size, _ in used)
        now = used[-1][0] if used else 0.0
        for last_use, size, path in used:
            is_being_written = path.suffix == PART and now - last_use < WRITING_S
            if total > self._max_cache_bytes and path != newest and not is_being_written:
                path.unlink(missing_ok=True)
                total -= size


def _used(paths: Iterable[Path]) -> Iterator[tuple[float, int, Path]]:
    """Give when each file was used last, and its size, as long as it is there."""
    for path in paths:
        with suppress(FileNotFoundError):
            state = path.stat()
            yield state.st_mtime, state.st_size, path


def _key(paths: Sequence[Path], columns: Mapping[str, str]) -> str:
    versions = [FORMAT, version("foldin"), pl.__version__, np.__version__]
    files = [[form_of(path), path.stat().st_size] for path in paths]
    made_of = orjson.dumps([versions, files, sorted(columns.items())])
    return hashlib.sha256(made_of).hexdigest()[:16]


def _digest(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        watch_whole(path, digest.update)
    return digest.hexdigest()


def _states(paths: Sequence[Path]) -> list[tuple[int, ...] | None]:
    """Give what changes with the content of each file; None for one that is gone."""
    return [_state(path) for path in paths]


def _state(path: Path) -> tuple[int, ...] | None:
    try:
        now = path.stat()
    except OSError:
        return None
    return (now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns)


def _columns(log: InteractionLog) -> Iterator[NDArray[Any]]:
    """Give a log as plain arrays: what there is as JSON, ids as JSON, and the numbers."""
    facts = {"values": list(log.values), "merged_duplicates": log.merged_duplicates}
    for content in (facts, log.user_ids.to_list(), log.item_ids.to_list()):
        yield np.frombuffer(orjson.dumps(content), dtype=np.uint8)
    yield log.offset_U1
    yield log.item_N
    yield from log.values.values()


def _save(log: InteractionLog, path: Path) -> None:
    """Write under another name and rename: there is the whole file or none."""
    with tempfile.NamedTemporaryFile(
        dir=path.parent, suffix=f"{ENDING}{PART}", delete=False
    ) as part:
        try:
            digested = _Digested(part.write)
            for values in _columns(log):
                np.save(digested, values, allow_pickle=False)
            part.write(digested.digest.digest())
            part.close()
            Path(part.name).replace(path)
        except BaseException:
            Path(part.name).unlink(missing_ok=True)
            raise


@final
class _Digested:
    """A file to write to, and the digest of all that was written."""

    def __init__(self, write: Callable[[bytes], int]) -> None:
        self._write = write
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self._write(data)


def _load(path: Path) -> InteractionLog:
    """Check the digest of a file, then read it.

    Raises:
        ValueError: It is not what was written.
    """
    with path.open("rb") as file:
        _check(file, path.stat().st_size - DIGEST_BYTES)
        file.seek(0)
        facts, user_ids, item_ids = (orjson.loads(_array(file).tobytes()) for _ in range(3))
        log = InteractionLog(
            offset_U1=_array(file),
            item_N=_array(file),
            user_ids=pl.Series("user_id", user_ids, dtype=pl.String),
            item_ids=pl.Series("item_id", item_ids, dtype=pl.String),
            values={name: _array(file) for name in facts["values"]},
            merged_duplicates=facts["merged_duplicates"],
        )
    with suppress(OSError):  # a cache that cannot be written to is as good to read
        os.utime(path)  # the last use, for who must go
    return log


def _check(file: BinaryIO, size: int) -> None:
    digest = hashlib.sha256()
    for start in range(0, size, BLOCK_BYTES):
        digest.update(file.read(min(BLOCK_BYTES, size - start)))
    if file.read(DIGEST_BYTES + 1) != digest.digest():
        raise ValueError("its digest is not the one at its end")


def _array(file: BinaryIO) -> NDArray[Any]:
    values: NDArray[Any] = np.load(file, allow_pickle=False)
    return values
