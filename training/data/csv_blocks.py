"""CSV cut into blocks that are small files of their own: a header, and rows that are whole."""

from collections.abc import Callable, Iterator
from typing import Final

NEW_LINE: Final = b"\n"
QUOTE: Final = b'"'
# 20 million rows of ratings are read equally fast in blocks of 4, 8 and 16 MiB; text and columns
# of a block take 100, 145 and 236 MB meanwhile.
BLOCK_BYTES: Final = 4 << 20


def csv_blocks(read: Callable[[int], bytes], block_bytes: int = BLOCK_BYTES) -> Iterator[bytes]:
    """Cut a file of any size.

    A line end within quotes ends no row: as many quotes stand before it as make an odd number.

    Args:
        read: Gives the next bytes, at most so many, and none at the end.
        block_bytes: Size of a block; one with a longer row is larger.

    Yields:
        The header and some rows. A file without rows gives its header alone.
    """
    header, rest = _header(read, block_bytes)
    yielded = False
    # What holds no end of a row is read on with twice as much, so that all is looked at twice.
    while block := read(max(block_bytes, len(rest))):
        text = rest + block
        end = row_end(text)
        if end:
            yield header + text[:end]
            yielded = True
        rest = text[end:]
    if rest or not yielded:
        yield header + rest


def row_end(text: bytes) -> int:
    """Give where the last whole row of a text ends, which begins with a row; 0 where none does."""
    end = len(text)
    is_quoted = text.count(QUOTE) % 2 == 1
    while end:
        new_line = text.rfind(NEW_LINE, 0, end)
        is_quoted ^= text.count(QUOTE, new_line + 1, end) % 2 == 1
        if not is_quoted:
            return new_line + 1
        end = max(new_line, 0)
    return 0


def _header(read: Callable[[int], bytes], block_bytes: int) -> tuple[bytes, bytes]:
    """Take the first row that is not blank, and what was read beyond it."""
    text = b""
    while block := read(max(block_bytes, len(text))):
        text += block
        start = len(text) - len(text.lstrip(b"\r\n"))
        end = text.find(NEW_LINE, start)
        while end >= 0 and text.count(QUOTE, 0, end) % 2 == 1:
            end = text.find(NEW_LINE, end + 1)
        if end >= 0:
            return text[: end + 1], text[end + 1 :]
    return text, b""
