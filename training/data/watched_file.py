"""A file that somebody else sees, too, as it is read: byte by byte, gzip or plain."""

import gzip
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, final

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

GZIP_MAGIC: Final = b"\x1f\x8b"
BLOCK_BYTES: Final = 1 << 20

OnBytes = Callable[[memoryview], None]


def ignore_bytes(block: memoryview) -> None:
    """See nothing."""
    del block


@contextmanager
def watched(path: Path, on_bytes: OnBytes) -> Iterator[BinaryIO | gzip.GzipFile]:
    """Open a file for reading; what is packed by gzip, whatever its name, comes out unpacked.

    Args:
        path: The file.
        on_bytes: Is given every byte as it stands in the file, as it is read.
    """
    with path.open("rb") as file, io.BufferedReader(_Watched(file, on_bytes)) as reader:
        if reader.peek(len(GZIP_MAGIC)).startswith(GZIP_MAGIC):
            with gzip.GzipFile(fileobj=reader) as unpacked:
                yield unpacked
        else:
            yield reader


def watch_whole(path: Path, on_bytes: OnBytes) -> None:
    """Read a file for nothing but being seen."""
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            on_bytes(memoryview(block))


@final
class _Watched(io.RawIOBase):
    def __init__(self, file: BinaryIO, on_bytes: OnBytes) -> None:
        self._file = file
        self._on_bytes = on_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        into = memoryview(buffer)
        block = self._file.read(len(into))
        into[: len(block)] = block
        self._on_bytes(into[: len(block)])
        return len(block)
