"""The body of a request, read within its limit."""

import asyncio
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from service.api.problems import (
    BodyTooLargeError,
    BodyTooSlowError,
    UnsupportedMediaTypeError,
)

# Content-Length has as many digits as its sender likes; int() refuses more than 4,300.
MAX_LENGTH_DIGITS: Final = 18
# From the end of the header: 8 MiB come over 2.3 Mbit/s by then. A body that stalls is held as far
# as it came, 8 MiB each, and whoever opens connections decides how many there are.
BODY_TIMEOUT_S: Final = 30.0


async def read_json(scope: Scope, receive: Receive, max_bytes: int) -> bytes:
    """Read a body that says it is JSON, and stop as soon as it is too large.

    The content type is required: a page of another site can make a browser post a body without
    one, or with one of a form, but not with this one.

    Raises:
        UnsupportedMediaTypeError: It does not say so.
        BodyTooLargeError: It has, or announces, more than ``max_bytes``.
        BodyTooSlowError: Its end has not come within ``BODY_TIMEOUT_S``.
        starlette.requests.ClientDisconnect: The caller left before the end of it.
    """
    _check_type(header(scope, b"content-type"))
    announced = header(scope, b"content-length")
    if len(announced) > MAX_LENGTH_DIGITS or (announced.isdigit() and int(announced) > max_bytes):
        raise _too_large(max_bytes)
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await _read(receive, max_bytes)
    except TimeoutError:
        message = f"its end did not come within {BODY_TIMEOUT_S:g} s"
        raise BodyTooSlowError(message) from None


async def _read(receive: Receive, max_bytes: int) -> bytes:
    chunks: list[bytes] = []
    size_bytes = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        size_bytes += len(chunk)
        if size_bytes > max_bytes:
            raise _too_large(max_bytes)
        chunks.append(chunk)
        more = message.get("more_body", False)
    return b"".join(chunks)


def header(scope: Scope, name: bytes) -> bytes:
    """Give the first value of a header, empty where there is none; ``name`` in lower case."""
    for key, value in scope["headers"]:
        if key == name:
            found: bytes = value
            return found
    return b""


def _check_type(content_type: bytes) -> None:
    if content_type == b"application/json":
        return
    media_type = content_type.decode("latin-1").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise UnsupportedMediaTypeError(f"this route reads JSON, not {media_type[:100]!r}")


def _too_large(max_bytes: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"this service takes at most {max_bytes} bytes")
