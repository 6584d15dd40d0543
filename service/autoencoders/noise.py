"""The chance of training: drawn for a whole batch, also by a process that has a part of its rows.

Where several processes share a batch, each draws the noise of all of it and keeps that of its own
rows. A row is then spoilt in the same way whichever process has it, and the generators of all
processes stay in step. The draws that are thrown away are cheap beside a step: a million random
numbers take 9 ms of one core at most, and a batch of 500 users has 150,000.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from torch import Generator, Tensor

# torch.rand, torch.randn and the like: takes a shape, ``generator`` and ``device``.
Draw = Callable[..., Tensor]


@final
@dataclass(frozen=True, slots=True)
class Part:
    """Where the rows at hand lie among all rows of a batch, or their entries among all entries."""

    start: int
    stop: int
    whole: int


@final
class SharedGenerator(Generator):
    """A generator that knows which part of a batch the rows at hand are.

    Attributes:
        rows: The part of the batch's rows; None: they are the whole batch.
        entries: The same of the entries.
    """

    rows: Part | None = None
    entries: Part | None = None

    def narrow(self, rows: Part, entries: Part) -> None:
        """Hear which part of a batch the next draws are for."""
        self.rows, self.entries = rows, entries


def row_noise(draw: Draw, shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Draw noise of a shape whose first dimension are the rows at hand."""
    part = generator.rows if isinstance(generator, SharedGenerator) else None
    return _drawn(draw, shape, generator, part)


def entry_noise(draw: Draw, count: int, generator: Generator) -> Tensor:
    """Draw one number for each entry of the rows at hand, [N]."""
    part = generator.entries if isinstance(generator, SharedGenerator) else None
    return _drawn(draw, (count,), generator, part)


def _drawn(draw: Draw, shape: tuple[int, ...], generator: Generator, part: Part | None) -> Tensor:
    if part is None:
        return draw(shape, generator=generator, device=generator.device)
    whole = draw((part.whole, *shape[1:]), generator=generator, device=generator.device)
    return whole[part.start : part.stop]
