"""Items that nobody may be shown now: a file that may change while the service runs."""

import io
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias, final

from service.errors import SettingsError
from service.settings import PREFIX

logger = logging.getLogger(__name__)

# Bytes of a file: some million ids.
MAX_BYTES: Final = 32 * 2**20


@final
@dataclass(frozen=True, slots=True)
class Unavailable:
    """What is unavailable at a time.

    Attributes:
        item_ids: The customer's ids; of a catalogue that lacks one, it hides nothing.
        version: Another one for another content.
    """

    item_ids: frozenset[str]
    version: int


EVERYTHING_AVAILABLE: Final = Unavailable(frozenset(), 0)

# Whatever gives what is unavailable now.
Availability: TypeAlias = Callable[[], Unavailable]


def always_available() -> Unavailable:
    """Hide nothing."""
    return EVERYTHING_AVAILABLE


def availability_of(path: Path | None) -> Availability:
    """Go by a file, if there is one to go by.

    Raises:
        SettingsError: As of ``AvailabilityFile``.
    """
    return always_available if path is None else AvailabilityFile(path)


def require_readable(path: Path | None) -> None:
    """Make sure, before anything is served, that a file can be gone by; one may still come.

    Raises:
        SettingsError: As of ``AvailabilityFile``.
    """
    if path is None:
        return
    try:
        _ids_in(_content_of(path))
    except FileNotFoundError:
        fields = {"path": str(path)}
        logger.warning("no file of unavailable items: none is hidden", extra={"fields": fields})
    except (OSError, ValueError) as error:
        raise _unreadable(error) from error


@final
class AvailabilityFile:
    """One id a line; looked at before each list, so that a change counts for the next one.

    A look is one ``stat``, 2 us; all workers of a service look at the same file. Replace it by a
    rename: of a file that is written in place, a part would be read. A file that cannot be read
    leaves what was read before in force: an item that is sold out must not come back by a slip.
    Whoever has read nothing before serves nothing: not the service, nor a worker that is to take
    the place of another while the file is bad.

    Args:
        path: The file, in UTF-8. None there: nothing is hidden.

    Raises:
        SettingsError: There is one, and it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, ...] = ()
        self._unavailable = EVERYTHING_AVAILABLE
        self._trouble = ""
        try:
            self._look()
        except (OSError, ValueError) as error:
            raise _unreadable(error) from error

    def __call__(self) -> Unavailable:
        """Give what is unavailable now."""
        try:
            self._look()
        except (OSError, ValueError) as error:
            self._complain(f"{type(error).__name__}: {error}")
        else:
            self._trouble = ""
        return self._unavailable

    def _complain(self, trouble: str) -> None:
        if trouble != self._trouble:  # else each list would
            self._trouble = trouble
            fields = {"error": trouble}
            logger.error("the unavailable items cannot be read", extra={"fields": fields})

    def _look(self) -> None:
        """Read the file if it has changed.

        Raises:
            OSError: It cannot be read now. That may pass: the next look tries again.
            ValueError: What it holds cannot be used; it is read again when it has changed.
        """
        seen = _seen_at(self._path)
        if seen == self._seen:
            return
        content = _content_of(self._path) if seen else b""
        self._seen = seen
        item_ids = _ids_in(content)
        self._unavailable = Unavailable(item_ids, self._unavailable.version + 1)
        logger.info("availability", extra={"fields": {"unavailable": len(item_ids)}})


def _seen_at(path: Path) -> tuple[int, ...]:
    """Tell one content of a file from another; nothing where there is no file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return ()
    # With the time of the last change of its mode: then it may be readable at last.
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def _content_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def _ids_in(content: bytes) -> frozenset[str]:
    if len(content) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES} bytes")
    # With the mark that spreadsheets set before UTF-8, which is no part of the first id. Only what
    # ends a line in a file ends one here: str.splitlines would cut ids in two.
    lines = io.StringIO(content.decode("utf-8-sig"), newline=None)
    return frozenset(item_id for line in lines if (item_id := line.strip(" \t\n")))


def _unreadable(error: Exception) -> SettingsError:
    return SettingsError(f"{PREFIX}UNAVAILABLE_FILE: {error}")
