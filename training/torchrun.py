"""Meets the other processes that ``torchrun`` started, and ends in one line when one is lost."""

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType
from typing import Final, NoReturn

import torch
from torch import distributed

from training.distributed import Wish, World
from training.errors import BadInputError, ProcessLostError, TrainingDivergedError

# A process that ends is noticed at once, by its closed connections. This is for one that is heard
# of no more, and has to be longer than anything that only the first process does: read the data.
TIMEOUT: Final = timedelta(minutes=10)
# Where in gloo, then what is wrong, then advice to those who build gloo.
GLOO_ERROR: Final = re.compile(r"\[[^\]]*gloo[^\]]*\] (?P<reason>.*?)(?:\. |$)", re.MULTILINE)
ADVICE: Final = (
    "if an epoch was saved, the same command with --resume goes on from there, with any number "
    "of processes"
)


@contextmanager
def joined() -> Iterator[World]:
    """Meet the other processes that torchrun started; without torchrun be alone.

    Raises:
        ProcessLostError: Another process has ended, or torchrun ends this one.
    """
    if not distributed.is_torchelastic_launched():
        yield World.alone()
        return
    with _named_losses():
        distributed.init_process_group(_backend(), timeout=TIMEOUT)
        world = World(distributed.get_rank(), distributed.get_world_size())
        with _signals(world.wish), _named_process(world):
            yield world
        distributed.destroy_process_group()


def refuse_torchrun(verb: str | None) -> None:
    """Refuse to do in each of several processes what one is to do.

    Raises:
        BadInputError: torchrun started this process.
    """
    if distributed.is_torchelastic_launched():
        raise BadInputError(f"torchrun is for train: run `foldin {verb}` without it")


def _backend() -> str:
    """Choose how processes talk; each takes the graphics card of its place on its machine."""
    if not torch.cuda.is_available():
        return "gloo"
    torch.cuda.set_device(distributed.get_node_local_rank())
    return "cpu:gloo,cuda:nccl"  # figures go the one way, gradients the other


@contextmanager
def _named_losses() -> Iterator[None]:
    """Say in one line that the connection to another process broke."""
    try:
        yield
    except RuntimeError as error:
        # What gloo and nccl say of peers; not all of it has a type.
        found = GLOO_ERROR.match(str(error))
        if not found and not isinstance(error, distributed.DistError):
            raise
        reason = found["reason"] if found else str(error).partition("\n")[0]
        raise ProcessLostError(
            f"another process of the run is gone or out of reach ({reason}): {ADVICE}"
        ) from error


@contextmanager
def _named_process(world: World) -> Iterator[None]:
    """Tell the errors of other processes from those of the first, which mostly are the same."""
    try:
        yield
    except (BadInputError, TrainingDivergedError) as error:
        if world.is_first:
            raise
        raise type(error)(f"process {world.rank}: {error}") from error


@contextmanager
def _signals(wish: Wish) -> Iterator[None]:
    """Note a first Ctrl-C, which torchrun passes on; end in one line when torchrun says so."""

    def stop(signum: int, frame: FrameType | None) -> None:
        del frame
        wish.to_stop = True
        signal.signal(signum, signal.default_int_handler)

    def end(signum: int, frame: FrameType | None) -> NoReturn:
        del signum, frame
        raise ProcessLostError(f"torchrun ended this process, as others have ended: {ADVICE}")

    handlers = {signal.SIGINT: stop, signal.SIGTERM: end}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
