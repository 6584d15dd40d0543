"""No work for callers who have left."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request
from starlette.requests import ClientDisconnect


@asynccontextmanager
async def while_connected(request: Request) -> AsyncIterator[None]:
    """Cancel the block when the caller hangs up; its rows leave the queue with it.

    The body must have been read before.

    Raises:
        ClientDisconnect: The caller hung up.
    """
    connection = asyncio.timeout(None)
    try:
        async with connection:
            watcher = asyncio.create_task(_expire_on_disconnect(request, connection))
            try:
                yield
            finally:
                watcher.cancel()
    except TimeoutError:
        if connection.expired():
            raise ClientDisconnect from None
        raise


async def _expire_on_disconnect(request: Request, connection: asyncio.Timeout) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    connection.reschedule(asyncio.get_running_loop().time())
