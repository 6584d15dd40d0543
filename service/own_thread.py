"""A load beside threads that answer: on a thread that ends with it, and gives way to them."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Result = TypeVar("Result")


async def on_own_thread(function: Callable[[], Result]) -> Result:
    """Call a function on a thread that ends with it, and its pool of torch threads with that."""
    thread = ThreadPoolExecutor(1, thread_name_prefix="loader")
    try:
        return await asyncio.get_running_loop().run_in_executor(thread, function)
    finally:
        thread.shutdown(wait=False)


@contextmanager
def yielding() -> Iterator[None]:
    """Let threads that answer take the interpreter from this one ten times as soon as usual.

    A thread in Python code keeps it for 5 ms, and one that answers asks for it after every product.
    """
    usual_s = sys.getswitchinterval()
    sys.setswitchinterval(usual_s / 10)
    try:
        yield
    finally:
        sys.setswitchinterval(usual_s)
