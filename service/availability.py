"""Items that nobody may be shown now: a file that may change while the service runs."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias, final

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
    """Go by a file, if there is one to go by."""
    return always_available if path is None else AvailabilityFile(path)


@final
class AvailabilityFile:
    """One id a line; looked at before each list, so that a change counts for the next one.

    A look is one ``stat``, 2 us; all workers of a service look at the same file. Replace it by a
    rename: of a file that is written in place, a part would be read. A file that cannot be read
    leaves what was read before in force: an item that is sold out must not come back by a slip.

    Args:
        path: The file. None there: nothing is hidden.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, ...] = ()
        self._read = EVERYTHING_AVAILABLE

    def __call__(self) -> Unavailable:
        """Give what is unavailable now."""
        seen: tuple[int, ...] = ()
        try:
            found = self._path.stat()
            # With the time of the last change of its mode: then it may be readable at last.
            seen = (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino)
        except FileNotFoundError:
            pass
        except OSError as error:
            self._complain(error)
            return self._read
        if seen != self._seen:
            self._seen = seen
            self._take(seen)
        return self._read

    def _take(self, seen: tuple[int, ...]) -> None:
        try:
            item_ids = _ids_in(self._path) if seen else frozenset[str]()
        except (OSError, ValueError) as error:
            self._complain(error)
            return
        self._read = Unavailable(item_ids, self._read.version + 1)
        logger.info("availability", extra={"fields": {"unavailable": len(item_ids)}})

    def _complain(self, error: Exception) -> None:
        fields = {"error": type(error).__name__}
        logger.error("the list of unavailable items cannot be read", extra={"fields": fields})


def _ids_in(path: Path) -> frozenset[str]:
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES} bytes")
    return frozenset(line.strip() for line in content.decode().splitlines() if line.strip())
