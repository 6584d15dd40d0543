"""Parts: so many users at a time, a file of histories each and then a file of lists."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

import polars as pl


@final
@dataclass(frozen=True, slots=True)
class Part:
    """Users that are scored together: a unit of work, on whichever machine.

    Attributes:
        index: Counted from 0, in the order of the users.
        folder: Of all files of the run.
        users: How many.
    """

    index: int
    folder: Path
    users: int

    @property
    def histories(self) -> Path:
        """Where the histories of its users are."""
        return self.folder / f"histories-{self.index:08}.parquet"

    @property
    def lists(self) -> Path:
        """Where their lists will be: under this name whole, or not at all."""
        return self.folder / f"lists-{self.index:08}.parquet"


def write_parts(frames: Iterable[pl.DataFrame], folder: Path, users: int) -> Iterator[Part]:
    """Write histories, so many users a part; what is held is a frame and a part.

    Args:
        frames: Of ``histories.SCHEMA``, one row a user.
        folder: For the files.
        users: Of each part but the last.
    """
    for index, frame in enumerate(_cut(frames, users)):
        part = Part(index, folder, frame.height)
        frame.write_parquet(part.histories, compression="lz4")
        yield part


def _cut(frames: Iterable[pl.DataFrame], rows: int) -> Iterator[pl.DataFrame]:
    rest: pl.DataFrame | None = None
    for frame in frames:
        held = frame if rest is None else pl.concat([rest, frame])
        whole = held.height - held.height % rows
        yield from held.head(whole).iter_slices(rows)
        rest = held.tail(held.height - whole)
    if rest is not None and rest.height:
        yield rest
