"""The end of a model that another one has taken the place of: its memory is given back."""

import asyncio
import gc
import logging
import weakref
from collections.abc import Callable
from typing import Final

from service.deployment import Served

logger = logging.getLogger(__name__)

# By then no request is left that began with a model that was let go.
GONE_AFTER_S: Final = 30.0


def let_go(served: Served) -> None:
    """See to it, on the running loop, that a model which nobody holds any more is gone soon."""
    model = weakref.ref(served.checkpoint.model)
    asyncio.get_running_loop().call_later(GONE_AFTER_S, make_sure_of_end, model)


def make_sure_of_end(model: Callable[[], object]) -> None:
    """Collect a model that was let go, should a cycle of references keep it.

    None does as of now: the last reference that goes frees it. Objects that were there at a
    ``gc.freeze`` are collected by nobody until they are unfrozen.
    """
    if model() is not None:
        logger.warning("a model that was let go is collected")
        gc.unfreeze()
        gc.collect()
        gc.freeze()
