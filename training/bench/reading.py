"""How fast a log is read, and with how much memory: from CSV, then from the cache.

Each reading is a process of its own, so that its peak memory is its own. What counts is the most
that the process held above what interpreter and libraries take, over the size of the log as a CSR
matrix: 64-bit row offsets, 32-bit item indices, 32-bit values, one of each a pair.
"""

import hashlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, final

import numpy as np
import orjson
import polars as pl
from rich.table import Table

from training.data.datasets import DataOptions, Dataset, load_dataset
from training.data.interactions import InteractionLog
from training.data.log_cache import LogCache
from training.errors import BadInputError
from training.memory import MB, forget_peak, peak_bytes

ROOT: Final = Path(__file__).parents[2]
ROWS: Final = 20_000_000
QUICK_ROWS: Final = 1_000_000
ROWS_AT_ONCE: Final = 1_000_000
# As MovieLens-20M: 138,493 users, 26,744 items, half stars, seconds from 1995 to 2015.
USERS: Final = 140_000
ROWS_OF_A_USER: Final = 50  # at least, on average
ITEMS: Final = 27_000
ENTRY_BYTES: Final = 4 + 4  # int32 index, float32 value
POPULARITY_POWER: Final = 0.8
SECONDS: Final = (789_652_009, 1_427_784_002)
# The CSV's log first: it fills the cache.
SOURCES: Final = ("CSV", "cache")
GOALS: Final = ("log", "split")


@final
@dataclass(frozen=True, slots=True)
class ReadingRun:
    """What one process did.

    Attributes:
        source: ``CSV`` or ``cache``.
        goal: ``log``, or ``split``: what training asks for, with the catalogue.
        seconds: From the files to the goal; to the log of the CSV with filling the cache.
        peak_bytes: Most memory meanwhile, above what interpreter and libraries take.
        digest: sha256 of the result, to tell whether both sources gave the same.
    """

    source: str
    goal: str
    seconds: float
    peak_bytes: int
    digest: str


@final
@dataclass(frozen=True, slots=True)
class ReadingReport:
    """All runs on one log.

    Attributes:
        rows: Of the CSV.
        csv_bytes: Its size.
        pairs: Different pairs of user and item.
        csr_bytes: The size of a CSR matrix of them.
        runs: In the order in which they were made.
    """

    rows: int
    csv_bytes: int
    pairs: int
    csr_bytes: int
    runs: tuple[ReadingRun, ...]


def measure_reading(rows: int, seed: int, on_line: Callable[[str], None]) -> ReadingReport:
    """Write a CSV; read it, and what the cache made of it, each time in a process of its own.

    Raises:
        BadInputError: A process failed, or the cache did not give what the CSV does.
    """
    with tempfile.TemporaryDirectory() as folder:
        path, cache = Path(folder) / "log.csv", Path(folder) / "cache"
        write_csv(path, rows, np.random.default_rng(seed))
        csv_bytes = path.stat().st_size
        on_line(f"{rows:,} rows of CSV, {csv_bytes / MB:,.0f} MB")
        runs = [_run_process(path, cache, source, goal) for goal in GOALS for source in SOURCES]
        log, _ = LogCache(cache, min_source_bytes=0).read(path, {})
    if len({run.digest for run in runs}) > len(GOALS):
        raise BadInputError("the cache gave something else than the CSV")
    csr_bytes = log.offset_U1.nbytes + len(log) * ENTRY_BYTES
    return ReadingReport(rows, csv_bytes, len(log), csr_bytes, tuple(runs))


def write_csv(path: Path, rows: int, generator: np.random.Generator) -> None:
    """Draw ratings as of MovieLens, in no order; some pairs come up more than once."""
    num_users = min(USERS, rows // ROWS_OF_A_USER)  # a short log has fewer users, not poorer ones
    weight_I = 1 / np.arange(1, ITEMS + 1) ** POPULARITY_POWER
    share_I = np.cumsum(weight_I) / weight_I.sum()
    with path.open("wb") as file:
        for start in range(0, rows, ROWS_AT_ONCE):
            count = min(ROWS_AT_ONCE, rows - start)
            pl.DataFrame(
                {
                    "user_id": generator.integers(1, num_users + 1, count),
                    "item_id": np.searchsorted(share_I, generator.random(count)) + 1,
                    "rating": generator.integers(1, 11, count) / 2,
                    "timestamp": generator.integers(*SECONDS, count),
                }
            ).write_csv(file, include_header=not start)


def _run_process(path: Path, cache: Path, source: str, goal: str) -> ReadingRun:
    done = subprocess.run(
        [sys.executable, "-m", "training.bench.reading"],
        cwd=ROOT,
        input=orjson.dumps([str(path), str(cache), source, goal]),
        capture_output=True,
        check=False,
    )
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip().splitlines() or ["no word"]
        raise BadInputError(f"the reading of the {source} failed: {words[-1]}")
    return ReadingRun(**orjson.loads(done.stdout.splitlines()[-1]))


def read_once(path: Path, cache: Path, source: str, goal: str) -> ReadingRun:
    """Read here and now; the peak is that of this process."""
    forget_peak()
    base_bytes = peak_bytes()
    started_s = time.monotonic()
    result = _read(path, cache, source, goal)
    seconds, held_bytes = time.monotonic() - started_s, peak_bytes() - base_bytes
    digest = _digest(result) if isinstance(result, InteractionLog) else result.fingerprint
    return ReadingRun(source, goal, seconds, held_bytes, digest)


def _read(path: Path, cache: Path, source: str, goal: str) -> InteractionLog | Dataset:
    if goal == "log":
        return LogCache(cache, min_source_bytes=0).read(path, {})[0]
    return load_dataset(str(path), DataOptions(cache=cache if source == "cache" else None))


def _digest(log: InteractionLog) -> str:
    digest = hashlib.sha256()
    for array in (log.offset_U1, log.item_N, *log.values.values()):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def reading_table(report: ReadingReport) -> Table:
    """Set the runs side by side."""
    title = f"{report.rows:,} rows, {report.pairs:,} pairs: {report.csr_bytes / MB:,.0f} MB as CSR"
    table = Table("from", "to", "s", "million rows/s", "peak MB", "peak / CSR", title=title)
    for run in report.runs:
        table.add_row(
            run.source,
            run.goal,
            f"{run.seconds:.1f}",
            f"{report.rows / run.seconds / 1e6:.2f}",
            f"{run.peak_bytes / MB:,.0f}",
            f"{run.peak_bytes / report.csr_bytes:.2f}",
        )
    return table


def main() -> None:
    """Read from stdin what to read; print a run as the last line of stdout."""
    path, cache, source, goal = orjson.loads(sys.stdin.buffer.read())
    run = read_once(Path(path), Path(cache), source, goal)
    sys.stdout.write(orjson.dumps(asdict(run)).decode() + "\n")


if __name__ == "__main__":
    main()
