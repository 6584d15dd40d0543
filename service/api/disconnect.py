"""No work for callers who have left."""

import asyncio
from types import TracebackType
from typing import Final, final

from starlette.requests import ClientDisconnect
from starlette.types import Receive

# Most answers take less, and nobody has watched: the timer costs 1 us, a task 5.
PATIENCE_S: Final = 0.05


@final
class WhileConnected:
    """Cancels its block when the caller hangs up; the block's rows leave the queue with it.

    ``async with WhileConnected(receive)``; the body must have been read before.

    Args:
        receive: Of the request.
        patience_s: How long the block may take before anybody looks whether the caller is there.

    Raises:
        ClientDisconnect: The caller hung up.
    """

    __slots__ = (
        "_cancellations",
        "_has_left",
        "_patience_s",
        "_receive",
        "_task",
        "_timer",
        "_watcher",
    )

    def __init__(self, receive: Receive, patience_s: float = PATIENCE_S) -> None:
        self._receive = receive
        self._patience_s = patience_s
        self._has_left = False
        self._watcher: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("there is no task that could be cancelled")
        self._task = task
        self._cancellations = task.cancelling()
        self._timer = task.get_loop().call_later(self._patience_s, self._watch)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
        # As asyncio.Timeout does it: a cancellation from elsewhere stays one.
        if (
            self._has_left
            and self._task.uncancel() <= self._cancellations
            and kind is asyncio.CancelledError
        ):
            raise ClientDisconnect from None

    def _watch(self) -> None:
        self._watcher = asyncio.create_task(self._cancel_on_disconnect())

    async def _cancel_on_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._has_left = True
        self._task.cancel()
