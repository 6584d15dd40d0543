"""Reads the users to score, however many: one row each, in the order in which they first appear."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, TypeAlias

import polars as pl

from training.scoring.gathering import BUCKET_ROWS, users_of_a_log
from training.scoring.histories import one_row_a_user
from training.scoring.source import SourceFile, naming, open_source
from training.scoring.values import Place

Histories: TypeAlias = Iterator[pl.DataFrame]

FRAME_USERS: Final = 4096


def read_users(
    source: Path, renamed: Mapping[str, str], folder: Path, bucket_rows: int = BUCKET_ROWS
) -> Histories:
    """Read the users to score, as frames of ``histories.SCHEMA``.

    Args:
        source: A CSV, TSV, JSON Lines or Parquet file, a glob, or a folder of Parquet files:
            either a log (``user_id``, ``item_id``, and perhaps ``rating`` and ``weight``), or one
            row a user (``user_id``, ``history``).
        renamed: What the files call our columns, where they have other names.
        folder: For what is set aside meanwhile.
        bucket_rows: Of a log, that are gathered in memory at a time.

    Raises:
        BadInputError: The source cannot be used, or a row of it.
    """
    files = open_source(source, renamed)
    if files[0].is_log:
        return users_of_a_log(files, folder, bucket_rows)
    return (frame for file in files for frame in _rows_of(file))


def _rows_of(file: SourceFile) -> Histories:
    first_row = 0
    with naming(file.path):
        for frame in file.frame.collect_batches(chunk_size=FRAME_USERS):
            rows = range(first_row, first_row + frame.height)
            yield one_row_a_user(frame, Place(file.path, file.name_of, rows))
            first_row += frame.height
