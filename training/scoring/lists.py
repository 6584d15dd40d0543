"""The file of lists: all parts in their order, under its name only when it is whole."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from training.errors import ClusterError
from training.scoring.parts import Part


def join_lists(parts: Sequence[Part], out: Path, facts: Mapping[str, str]) -> None:
    """Write the lists of all parts to one Parquet file, streaming.

    Args:
        parts: All of them scored.
        out: Replaced in one rename, once the new one is on the disk.
        facts: For the file's metadata.

    Raises:
        ClusterError: Lists are missing, or there are too many: files that a machine wrote are not
            to be seen here, or were tampered with.
    """
    lost = [part for part in parts if not part.lists.is_file()]
    if lost:
        raise ClusterError(
            f"{len(lost)} of {len(parts)} parts are not in {parts[0].folder}: does every machine "
            "see this folder?"
        )
    staged = parts[0].folder / "lists.parquet"
    every = pl.scan_parquet([part.lists for part in parts], glob=False)
    every.sink_parquet(staged, metadata=dict(facts), sync_on_close="all")
    written = pl.scan_parquet(staged, glob=False).select(pl.len()).collect().item()
    expected = sum(part.users for part in parts)
    if written != expected:
        raise ClusterError(f"{written:,} lists of {expected:,} users; nothing was written")
    staged.replace(out)
