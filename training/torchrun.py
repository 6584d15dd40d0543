"""Meets the other processes that ``torchrun`` started, and ends in one line when one is lost.

A process that ends for a reason leaves it where the others find it: torchrun ends all that are
left as soon as one has ended, perhaps before the one that knows why has said it.
"""

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from types import FrameType
from typing import Final, NoReturn

import torch
from torch import distributed
from torch.distributed.distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous

from service.errors import FoldinError
from training.distributed import Wish, World
from training.errors import BadInputError, ProcessLostError, TrainingDivergedError

# A process that ends is noticed at once, by its closed connections. This is for one that is heard
# of no more, and has to be longer than anything that only the first process does: read the data.
TIMEOUT: Final = timedelta(minutes=10)
# Where in torchrun's store, which outlives the processes.
REASON: Final = "foldin/reason"
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
        ProcessLostError: Another process has ended, or torchrun ends this one; with the reason of
            the other, where it left one.
    """
    if not distributed.is_torchelastic_launched():
        yield World.alone()
        return
    with _named_losses():
        store, rank, size = next(rendezvous("env://", timeout=TIMEOUT))
        distributed.init_process_group(
            _backend(), store=store, rank=rank, world_size=size, timeout=TIMEOUT
        )
    world = World(rank, size)
    with _shared_reasons(store, world), _named_losses(), _signals(world.wish):
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
def _shared_reasons(store: Store, world: World) -> Iterator[None]:
    """Leave the others the reason why this process ends; say theirs when one of them is lost."""
    try:
        yield
    except ProcessLostError as error:
        reason = _reason(store)
        if reason is None:
            raise
        raise ProcessLostError(reason) from error
    except (FoldinError, OSError) as error:
        with suppress(RuntimeError):  # the store may be gone, too: then they hear of a loss
            store.set(REASON, f"process {world.rank} has ended: {error}")
        # Mostly the same as that of the first one, which needs no name.
        if world.is_first or not isinstance(error, BadInputError | TrainingDivergedError):
            raise
        raise type(error)(f"process {world.rank}: {error}") from error


def _reason(store: Store) -> str | None:
    """Find what another process said when it ended; None: it was killed, or crashed."""
    try:
        return store.get(REASON).decode() if store.check([REASON]) else None
    except RuntimeError:  # the machine that keeps the store is gone
        return None


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
