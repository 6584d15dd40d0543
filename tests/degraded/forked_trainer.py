"""A process that forks a ``foldin`` at every order: importing torch takes seconds, a fork none.

Orders come on stdin, answers go to stdout, one JSON object a line each. An order with arguments
starts the command in a process of its own and is answered with its number; one with a number
waits for that process and is answered with how it ended.

A process can be told to die at the n-th change to the file system that matches a pattern.
"""

import json
import os
import re
import resource
import signal
import sys
import traceback
from typing import Any

import torch

from training.cli import main

# Audit events of CPython that come right before a change to the file system; "open" apart.
CHANGES = {"os.mkdir", "os.rmdir", "os.rename", "os.remove", "shutil.rmtree", "os.truncate"}
TORN_BYTES = 100
CRASHED = 70


class Death:
    """Ends this process at a change to the file system: before it, or in the midst of a write."""

    def __init__(self, change: str, at: int, *, torn: bool) -> None:
        self._change = re.compile(change)
        self._left = at
        self._torn = torn

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not is_change(event, arguments) or not self._change.search(f"{event} {arguments[0]}"):
            return
        self._left -= 1
        if self._left:
            return
        if not self._torn:
            os.kill(os.getpid(), signal.SIGKILL)
        # The kernel ends the process at this byte of whatever file it writes next.
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (TORN_BYTES, TORN_BYTES))


def is_change(event: str, arguments: tuple[Any, ...]) -> bool:
    if event != "open":
        return event in CHANGES
    _, mode, flags = arguments
    return bool(flags & (os.O_WRONLY | os.O_RDWR)) if mode is None else "r" not in mode


def start(order: dict[str, Any]) -> dict[str, int]:
    process = os.fork()
    if process:
        return {"process": process}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    output = os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    if order.get("most_bytes"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["most_bytes"],) * 2)
    if order.get("die_at"):
        sys.addaudithook(Death(order["change"], order["die_at"], torn=order["torn"]).hear)
    sys.argv = ["foldin", *order["arguments"]]
    code = CRASHED
    try:
        main()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        sys.stdout.flush()
        os._exit(code)


def wait(order: dict[str, Any]) -> dict[str, int]:
    _, status = os.waitpid(order["process"], 0)
    return {"code": os.waitstatus_to_exitcode(status)}  # minus the signal that ended it


if __name__ == "__main__":
    torch.optim.Adam([torch.zeros(1)])  # the first optimizer of a process imports for seconds
    for line in sys.stdin:
        asked = json.loads(line)
        answer = start(asked) if "arguments" in asked else wait(asked)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    os._exit(0)  # nothing to put away, and torch takes seconds for it
