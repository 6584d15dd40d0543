"""The body of a request, read within its limit."""

from typing import Final

from fastapi import Request

from service.api.problems import BodyTooLargeError, UnsupportedMediaTypeError

# Content-Length has as many digits as its sender likes; int() refuses more than 4,300.
MAX_LENGTH_DIGITS: Final = 18


async def read_json(request: Request, max_bytes: int) -> bytes:
    """Read a body that says it is JSON, and stop as soon as it is too large.

    The content type is required: a page of another site can make a browser post a body without
    one, or with one of a form, but not with this one.

    Raises:
        UnsupportedMediaTypeError: It does not say so.
        BodyTooLargeError: It has, or announces, more than ``max_bytes``.
        starlette.requests.ClientDisconnect: The caller left before the end of it.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise UnsupportedMediaTypeError(f"this route reads JSON, not {media_type[:100]!r}")
    announced = request.headers.get("content-length", "")
    if len(announced) > MAX_LENGTH_DIGITS or (announced.isdecimal() and int(announced) > max_bytes):
        raise _too_large(max_bytes)
    chunks: list[bytes] = []
    size_bytes = 0
    async for chunk in request.stream():
        size_bytes += len(chunk)
        if size_bytes > max_bytes:
            raise _too_large(max_bytes)
        chunks.append(chunk)
    return b"".join(chunks)


def _too_large(max_bytes: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"this service takes at most {max_bytes} bytes")
