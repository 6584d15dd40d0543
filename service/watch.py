"""A change that is made again and again, and what becomes of its failures."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from service.errors import FoldinError, ReloadRefusedError

logger = logging.getLogger(__name__)

# Before another try at what failed for a reason that may pass: no file handle was left, say.
RETRY_S: Final = 1.0


async def every(period_s: float, change: Callable[[], Awaitable[object]]) -> None:
    """Make a change again and again, until cancelled; rarer while it fails for passing reasons."""
    failed = ""
    while True:
        await asyncio.sleep(max(period_s, RETRY_S) if failed else period_s)
        failed = await quietly(change, failed)


async def quietly(change: Callable[[], Awaitable[object]], known: str = "") -> str:
    """Make a change that may fail.

    Args:
        change: Logs itself what a ``ReloadRefusedError`` of it says.
        known: The kind of its last failure, which is not logged again.

    Returns:
        The kind of a failure that may pass; empty where there was none.
    """
    try:
        await change()
    except ReloadRefusedError as refusal:
        return refusal.reason if may_pass(refusal.__cause__) else ""
    except Exception as error:  # a full disk under the agreement, say: the next time may go well
        failed = type(error).__name__
        if failed != known:
            logger.exception("a change of the model failed")
        return failed
    return ""


def may_pass(error: BaseException | None) -> bool:
    """Tell whether the bundle that ended in this error may load at another time.

    Not if something in it was found wrong. A file that could not be read may be read then; one
    that is not there may not: when it comes, the model directory has changed, which is seen.
    """
    reason = error.__cause__ if isinstance(error, FoldinError) else error
    if isinstance(reason, FileNotFoundError):
        return False
    return isinstance(reason, OSError) or not isinstance(error, FoldinError)
