"""The lines of a body, one at a time, as they arrive: newline-delimited JSON of any length."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope

from service.api.bodies import BODY_TIMEOUT_S, header

NDJSON: Final = "application/x-ndjson"


def is_ndjson(scope: Scope) -> bool:
    """Tell whether the body of a request says that each of its lines is a JSON document."""
    media_type = header(scope, b"content-type").decode("latin-1").partition(";")[0]
    return media_type.strip().lower() == NDJSON


async def lines_of(receive: Receive, max_bytes: int) -> AsyncIterator[bytes | None]:
    """Read a body line by line; nothing is received before the line before it is taken.

    Never more is held than a line and what came in one piece with its end.

    Args:
        receive: Of the request.
        max_bytes: Of a line.

    Yields:
        A line without its newline, or None for one that is too long, whose rest is passed over.
        Blank lines are no lines.

    Raises:
        starlette.requests.ClientDisconnect: The caller left before the end of the body, or left a
            line half sent for ``BODY_TIMEOUT_S``.
    """
    line = _Line(max_bytes)
    more = True
    while more:
        message = await (_within_a_line(receive) if line.has_begun else receive())
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        more = message.get("more_body", False)
        *ends, rest = message.get("body", b"").split(b"\n")
        for end in ends:
            line.add(end)
            if (ended := line.taken()) != b"":
                yield ended
        line.add(rest)
    if (ended := line.taken()) != b"":
        yield ended


async def _within_a_line(receive: Receive) -> Message:
    # Between lines a caller may take all the time it needs to find another row.
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await receive()
    except TimeoutError:
        raise ClientDisconnect from None


class _Line:
    """A line in the making; one that grows too long keeps nothing."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held = bytearray()
        self._is_too_long = False

    def add(self, piece: bytes) -> None:
        if len(self._held) + len(piece) > self._max_bytes:
            self._is_too_long = True
            self._held.clear()
        if not self._is_too_long:
            self._held += piece

    @property
    def has_begun(self) -> bool:
        return self._is_too_long or bool(self._held)

    def taken(self) -> bytes | None:
        """Give the line and begin a new one; a blank one is empty."""
        line = None if self._is_too_long else bytes(self._held)
        self._held.clear()
        self._is_too_long = False
        return b"" if line is not None and not line.strip() else line
