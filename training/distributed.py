"""What several processes that train one model, on one machine or many, say to each other.

All of it goes through ``World``, apart from the gradients, which ``DistributedDataParallel``
averages. An ordinary run is a world of one.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self, final

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from training.errors import BadInputError, ProcessLostError

# A state is sent in pieces of so many bytes: it may be larger than what memory is left.
PIECE_BYTES: Final = 1 << 26


@final
@dataclass(slots=True)
class Wish:
    """Whether somebody pressed Ctrl-C: heard of at once, acted upon when all agree to."""

    to_stop: bool = False


@final
@dataclass(frozen=True, slots=True)
class World:
    """The processes of a run, as one of them sees them.

    Attributes:
        rank: Which one this is, from 0; the first tells, writes and exports.
        size: How many there are.
        wish: Of this process; the others hear of it with the figures of a step.
    """

    rank: int
    size: int
    wish: Wish = field(default_factory=Wish)

    @classmethod
    def alone(cls) -> Self:
        """Give the world of an ordinary run."""
        return cls(0, 1)

    @property
    def is_first(self) -> bool:
        """Whether this process tells, writes and exports."""
        return self.rank == 0

    def shard(self, count: int) -> slice:
        """Give this process's part of so many users: one of ``size`` runs of equal length."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def gathered(self, figures: Sequence[float]) -> list[list[float]]:
        """Give the figures of all processes, the first one's first; the same to all of them.

        Args:
            figures: float64; as many in every process.
        """
        if self.size == 1:
            return [list(figures)]
        own = torch.tensor(figures, dtype=torch.float64)
        of_all = [torch.empty_like(own) for _ in range(self.size)]
        distributed.all_gather(of_all, own)
        return [each.tolist() for each in of_all]

    def gathered_by_name(self, figures: Mapping[str, float]) -> list[dict[str, float]]:
        """Give the figures of all processes under their names, which are the same in all."""
        of_all = self.gathered(tuple(figures.values()))
        return [dict(zip(figures, each, strict=True)) for each in of_all]

    def totals(self, figures: Sequence[float]) -> list[float]:
        """Add the figures of all processes up, in float64."""
        return [sum(each) for each in zip(*self.gathered(figures), strict=True)]

    def parallel(self, module: nn.Module) -> nn.Module:
        """Give a module whose gradients are the mean over all processes once they are computed.

        Its parameters that require gradients now are those that it is about, and each of them has
        a part in every pass. All processes start with the weights of the first.
        """
        if self.size == 1:
            return module
        # As views: one copy of the gradients, not two.
        return DistributedDataParallel(module, gradient_as_bucket_view=True)

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Let the first process go through a block before the others: what it leaves they find."""
        if not self.is_first:
            self.gathered((0,))  # who sends nothing waits for nobody
        yield
        if self.is_first:
            self.gathered((0,))

    def refuse_differences(self, digest: str, what: str) -> None:
        """Refuse processes that are about different things.

        Args:
            digest: Hexadecimal, of what has to be the same.
            what: Names it in the error.

        Raises:
            BadInputError: Two processes have different digests.
        """
        # 48 bits, which a float64 holds exactly.
        of_all = [own for (own,) in self.gathered((float(int(digest[:12], 16)),))]
        other = next((rank for rank, own in enumerate(of_all) if own != of_all[0]), None)
        if other is not None:
            raise BadInputError(f"{what} of process {other} are not those of process 0")

    @contextmanager
    def copied(self, path: Path, *, wanted: bool) -> Iterator[Path]:
        """Give every process the folder of a file: the first its own, the others one with a copy.

        The others need not see the first one's disk. Their folder goes at the end.

        Args:
            path: Of the first process; need not exist.
            wanted: Whether to send the file; else the others' folders are empty.

        Raises:
            ProcessLostError: The first process, which says so itself, has no such file.
        """
        if self.is_first:
            if wanted and self.size > 1:
                _send(path)
            yield path.parent
            return
        with tempfile.TemporaryDirectory(prefix="foldin-") as folder:
            if wanted:
                _receive(Path(folder) / path.name)
            yield Path(folder)


def _send(path: Path) -> None:
    size = path.stat().st_size if path.is_file() else 0
    distributed.broadcast(torch.tensor([size]), src=0)
    if size:
        with path.open("rb") as file:
            while content := file.read(PIECE_BYTES):
                distributed.broadcast(torch.frombuffer(bytearray(content), dtype=torch.uint8), 0)


def _receive(path: Path) -> None:
    size = torch.zeros(1, dtype=torch.int64)
    distributed.broadcast(size, src=0)
    left = int(size)
    if not left:
        raise ProcessLostError("process 0 has no state to go on with")
    with path.open("wb") as file:
        while left:
            content = torch.empty(min(left, PIECE_BYTES), dtype=torch.uint8)
            distributed.broadcast(content, src=0)
            file.write(content.numpy().data)
            left -= len(content)
