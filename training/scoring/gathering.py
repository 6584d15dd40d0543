"""Brings the rows of a log together by user, on the disk: memory does not grow with the log.

Rows are spread over buckets by user, all of a user's in one. Each bucket fits in memory, where its
users are gathered and sorted by their first rows. Then all buckets are read side by side, so many
users at a time.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from training.data.tables import PARQUET
from training.errors import BadInputError
from training.scoring.histories import entries_of_a_log, gathered
from training.scoring.source import WHOLE_LINES, SourceFile, naming
from training.scoring.values import NUMBERS, Place

# Measured: 0.3 GB while a bucket of so many rows is gathered.
BUCKET_ROWS: Final = 1_000_000
MAX_BUCKETS: Final = 512  # each holds a row group in memory while rows are spread
SPREAD_GROUP_ROWS: Final = 8192
ROW_BYTES: Final = 24  # of text: two ids and a rating, about
# Rows are numbered from the number of their file times this.
FILE_ROWS: Final = 2**40
# Users that are read from all buckets at a time, about: first rows are sampled to tell which.
RANGE_USERS: Final = 32_768
SAMPLED_EVERY: Final = 16
MIN_GROUP_USERS: Final = 128


def users_of_a_log(
    files: Sequence[SourceFile], folder: Path, bucket_rows: int
) -> Iterator[pl.DataFrame]:
    """Give the users of a log in the order of their first rows, as frames of our columns.

    Args:
        files: Of the log, in order.
        folder: For what is set aside.
        bucket_rows: That are gathered in memory at a time.

    Raises:
        BadInputError: A row cannot be used, or files do not go together.
    """
    num_buckets = math.ceil(min(MAX_BUCKETS, sum(map(_num_rows, files)) / bucket_rows)) or 1
    spread = folder / "spread"
    whole_log = pl.concat(_alike(files)).with_columns(
        (pl.col("user_id").hash() % num_buckets).alias("bucket")
    )
    with naming(*(file.path for file in files)):
        whole_log.sink_parquet(
            pl.PartitionBy(spread, key="bucket", include_key=False),
            compression="lz4",
            row_group_size=SPREAD_GROUP_ROWS,
            mkdir=True,
            optimizations=WHOLE_LINES,
        )
    buckets = [_gather(bucket, files, num_buckets) for bucket in sorted(spread.glob("*"))]
    for first, end in pairwise(_edges(buckets)):
        in_range = (pl.col("row") >= first) & (pl.col("row") < end)
        users = pl.scan_parquet(buckets, glob=False).filter(in_range).collect()
        yield users.sort("row").drop("row")


def _num_rows(file: SourceFile) -> int:
    if file.path.name.lower().endswith(PARQUET):
        return int(file.frame.select(pl.len()).collect().item())
    return file.path.stat().st_size // ROW_BYTES


def _alike(files: Sequence[SourceFile]) -> list[pl.LazyFrame]:
    """Give the rows of each file a number in the log and, by column, the same type."""
    frames: list[pl.LazyFrame] = []
    for number, file in enumerate(files):
        place = Place(file.path, file.name_of, ())
        columns = [pl.col("row").cast(pl.UInt64) + number * FILE_ROWS]
        for name, kind in file.frame.collect_schema().items():
            if name not in NUMBERS:
                place.refuse_no_ids(name, kind)
                columns.append(pl.col(name).cast(pl.String))
            elif kind == pl.String:
                columns.append(pl.col(name))
            else:
                place.refuse_no_numbers(name, kind)
                columns.append(pl.col(name).cast(pl.Float64))
        frames.append(file.frame.with_row_index("row").select(columns))
        if frames[-1].collect_schema() != frames[0].collect_schema():
            raise BadInputError(
                f"{files[0].path} and {file.path}: numbers in one, text in the other; "
                "score them one by one"
            )
    return frames


def _gather(bucket: Path, files: Sequence[SourceFile], num_buckets: int) -> Path:
    """Bring the rows of a bucket's users together, in a file in its place."""
    rows = pl.read_parquet(bucket / "*.parquet", hive_partitioning=False).sort("row")
    checked = []
    for (number,), frame in rows.group_by(pl.col("row") // FILE_ROWS, maintain_order=True):
        file = files[number]
        place = Place(file.path, file.name_of, (frame["row"] % FILE_ROWS).to_list())
        checked.append(entries_of_a_log(frame, place))
    users = gathered(pl.concat(checked))
    path = bucket.with_suffix(PARQUET)
    # Of a row group all users are read: as many as a range has of this bucket.
    group_users = max(MIN_GROUP_USERS, RANGE_USERS // num_buckets)
    users.write_parquet(path, compression="lz4", row_group_size=group_users)
    for file_of_rows in bucket.iterdir():
        file_of_rows.unlink()
    return path


def _edges(buckets: list[Path]) -> list[int]:
    """Find rows between which as many users begin: of each range the first, and the end of all."""
    if not buckets:
        return []
    sample = pl.col("row").gather_every(SAMPLED_EVERY)
    found = [pl.scan_parquet(path, glob=False).select(sample).collect() for path in buckets]
    first_row_S = np.sort(pl.concat(found)["row"].to_numpy())
    inner = first_row_S[:: RANGE_USERS // SAMPLED_EVERY][1:].tolist()
    last = pl.scan_parquet(buckets, glob=False).select(pl.col("row").max()).collect().item()
    return [0, *inner, last + 1]
