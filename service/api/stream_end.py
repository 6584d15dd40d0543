"""The end of streams, which no caller would come to by itself before the service must end."""

import asyncio
from typing import final

from starlette.types import Message, Receive

from service.errors import DrainingError


@final
class StreamEnd:
    """Lets streams receive until it comes.

    Attributes:
        has_come: Whether it has.
    """

    def __init__(self) -> None:
        self.has_come = False
        self._waits: set[asyncio.Timeout] = set()

    def come(self) -> None:
        """Have nothing more received; called once, on the loop of the streams."""
        self.has_come = True
        now_s = asyncio.get_running_loop().time()
        for wait in self._waits:
            wait.reschedule(now_s)

    def require_not_come(self) -> None:
        """Make sure that there is time for more.

        Raises:
            DrainingError: There is none.
        """
        if self.has_come:
            raise DrainingError("the service is about to end")

    async def receive_before(self, receive: Receive) -> Message:
        """Receive what comes before the end.

        Raises:
            DrainingError: The end comes first.
        """
        self.require_not_come()
        wait = asyncio.timeout(None)
        try:
            async with wait:
                self._waits.add(wait)
                return await receive()
        except TimeoutError:  # ours: receiving itself has no limit
            raise DrainingError("the service is about to end") from None
        finally:
            self._waits.discard(wait)
