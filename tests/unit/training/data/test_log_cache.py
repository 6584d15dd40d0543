import errno
import gzip
import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from training.data import log_cache, tables
from training.data.interactions import InteractionLog
from training.data.log_cache import LogCache
from training.data.log_reader import read_log
from training.data.watched_file import OnBytes, watch_whole
from training.errors import BadInputError

Read = Callable[..., tuple[InteractionLog, tuple[str, ...]]]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A log with all columns, and a pair that stands there twice."""
    frame = pl.DataFrame(
        {
            "user_id": ["u10", "u9", "u9", "u\u00e9,\n"],
            "item_id": ["2", "11", "11", "2"],
            "rating": [0.5, 0.1, 3.0, 4.0],
            "timestamp": [1, 2**40, 3, 4],
            "weight": [1.0, 2.0, 3.0, 0.1],
            "split": ["train", "test", "test", "valid"],
        }
    )
    path = tmp_path / "log.csv"
    frame.write_csv(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "cache"


@pytest.fixture
def read(source: Path, folder: Path) -> Read:
    def read_it(columns: dict[str, str] | None = None) -> tuple[InteractionLog, tuple[str, ...]]:
        return LogCache(folder, min_source_bytes=1).read(source, columns or {})

    return read_it


def files_in(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def is_same(one: InteractionLog, other: InteractionLog) -> bool:
    pairs: list[tuple[NDArray[Any], NDArray[Any]]] = [
        (one.offset_U1, other.offset_U1),
        (one.item_N, other.item_N),
        *((one.values[name], other.values[name]) for name in one.values),
    ]
    return (
        all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs)
        and list(one.values) == list(other.values)
        and one.user_ids.equals(other.user_ids, check_dtypes=True)
        and one.item_ids.equals(other.item_ids, check_dtypes=True)
        and one.merged_duplicates == other.merged_duplicates
    )


def test_the_second_time_the_log_comes_out_of_the_cache_as_it_went_in(
    source: Path, folder: Path, read: Read
) -> None:
    first, told = read()
    (path,) = files_in(folder)
    assert told == (f"cached for the next time: {path}",)
    second, told = read()
    assert told == (f"read from the cache: {path}",)
    assert is_same(first, second)
    assert is_same(first, read_log(source, {}))
    assert second.merged_duplicates == 1
    assert second.values["timestamp"].dtype == np.int64


def test_the_files_are_not_parsed_the_second_time(
    read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    read()
    monkeypatch.delattr(log_cache, "read_log")
    assert len(read()[0]) == 3


def test_only_the_owner_can_look_into_the_cache(folder: Path, read: Read) -> None:
    read()
    (path,) = files_in(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_changed_but_kept_size_and_time_is_read_anew(source: Path, read: Read) -> None:
    read()
    before = source.stat()
    source.write_text(source.read_text().replace("u10", "u11"))
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert source.stat().st_size == before.st_size
    log, (told,) = read()
    assert "u11" in log.user_ids
    assert told.startswith("cached")


@pytest.mark.parametrize("change", [{"timestamp": "rating"}, {"item_id": "user_id"}])
def test_other_columns_make_another_log(folder: Path, read: Read, change: dict[str, str]) -> None:
    plain, _ = read()
    other, (told,) = read(change)
    assert told.startswith("cached")
    assert not plain.frame.equals(other.frame)
    assert len(files_in(folder)) == 2


@pytest.mark.parametrize("what", ["FORMAT", "version"])
def test_another_version_makes_its_own_files(
    folder: Path, read: Read, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    read()
    other = 99 if what == "FORMAT" else lambda _: "99"
    monkeypatch.setattr(log_cache, what, other)
    assert read()[1][0].startswith("cached")
    assert len(files_in(folder)) == 2


def test_the_same_bytes_in_another_form_are_another_log(
    source: Path, folder: Path, read: Read
) -> None:
    read()
    tabbed = source.with_suffix(".tsv")
    tabbed.write_bytes(source.read_bytes())
    with pytest.raises(BadInputError):  # there is no tab in it
        LogCache(folder, min_source_bytes=1).read(tabbed, {})


def damage(content: bytes, how: str) -> bytes:
    middle = len(content) // 2
    return {
        "a changed byte": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "cut short": content[:middle],
        "nothing": b"",
        "more": content + b"x",
        "foreign": b"hello" * 100,
    }[how]


@pytest.mark.parametrize("how", ["a changed byte", "cut short", "nothing", "more", "foreign"])
def test_a_damaged_cache_is_told_and_made_anew(folder: Path, read: Read, how: str) -> None:
    whole, _ = read()
    (path,) = files_in(folder)
    path.write_bytes(damage(path.read_bytes(), how))
    log, told = read()
    damaged, cached = told
    assert damaged.startswith(f"the cache is damaged, the files are read again: {path}: ")
    assert damaged.endswith("its digest is not the one at its end")
    assert cached == f"cached for the next time: {path}"
    assert is_same(log, whole)
    assert read()[1] == (f"read from the cache: {path}",)


def test_a_file_that_says_what_nobody_wrote_is_damaged_whatever_its_digest(
    folder: Path, read: Read
) -> None:
    read()
    (path,) = files_in(folder)
    content = b"no arrays"
    path.write_bytes(content + hashlib.sha256(content).digest())
    assert read()[1][0].startswith("the cache is damaged")


def test_a_small_log_is_not_cached(source: Path, folder: Path) -> None:
    _, told = LogCache(folder).read(source, {})
    assert told == ()
    assert not folder.exists()


def test_a_log_larger_than_the_cache_is_not_cached(source: Path, folder: Path) -> None:
    _, told = LogCache(folder, 1, max_cache_bytes=10).read(source, {})
    assert told[0].startswith("not cached: ")
    assert told[0].endswith(" are more than 0 MB")
    assert not folder.exists()


def test_a_folder_that_cannot_be_written_to_stops_nobody(
    source: Path, folder: Path, read: Read
) -> None:
    folder.parent.write_text("no folder")
    log, (told,) = read()
    assert told.startswith("not cached: ")
    assert is_same(log, read_log(source, {}))


def test_a_write_that_fails_leaves_nothing(
    folder: Path, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Path, target: Path) -> Path:
        raise OSError(f"no space for {target.name[:3]} beside {self.suffix}")

    monkeypatch.setattr(Path, "replace", fail)
    _, (told,) = read()
    assert told.startswith("not cached: no space for ")
    assert files_in(folder) == []


def test_what_was_used_longest_ago_goes_first(tmp_path: Path, folder: Path) -> None:
    sources = []
    for name in "abc":
        sources.append(tmp_path / f"{name}.csv")
        sources[-1].write_text(f"user_id,item_id\n{name},1\n")
    LogCache(folder, 1).read(sources[0], {})
    size = files_in(folder)[0].stat().st_size
    (folder / f"killed{log_cache.ENDING}.part").write_bytes(b"x" * 10)
    (folder / "of somebody else").write_bytes(b"x" * 10 * size)
    os.utime(folder / f"killed{log_cache.ENDING}.part", (1, 1))
    os.utime(next(folder.glob(f"*{log_cache.ENDING}")), (2, 2))
    cache = LogCache(folder, 1, max_cache_bytes=2 * size)
    cache.read(sources[1], {})
    assert len(list(folder.glob(f"*{log_cache.ENDING}*"))) == 2
    os.utime(max(folder.glob(f"*{log_cache.ENDING}"), key=os.path.getmtime), (3, 3))
    assert cache.read(sources[0], {})[1][0].startswith("read")  # used: now b is the oldest
    cache.read(sources[2], {})
    assert cache.read(sources[0], {})[1][0].startswith("read")
    assert cache.read(sources[1], {})[1][0].startswith("cached")
    assert (folder / "of somebody else").exists()


@pytest.mark.parametrize("name", ["log.parquet", "log.jsonl"])
def test_a_file_that_is_replaced_while_it_is_read_is_not_cached(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    source, other = tmp_path / name, tmp_path / f"other-{name}"
    for path, item_id in ((source, "old"), (other, "new")):
        frame = pl.DataFrame({"user_id": ["u"], "item_id": [item_id]})
        frame.write_parquet(path) if path.suffix == ".parquet" else frame.write_ndjson(path)
    digested = watch_whole

    def replace_once_digested(path: Path, on_bytes: OnBytes) -> None:
        digested(path, on_bytes)
        other.replace(path)

    before = source.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(tables, "watch_whole", replace_once_digested)
        _, told = LogCache(folder, 1).read(source, {})
    assert told == ("not cached: the files changed while they were read",)
    source.write_bytes(before)
    assert LogCache(folder, 1).read(source, {})[0].item_ids.to_list() == ["old"]


def test_a_file_that_is_gone_once_it_is_read_is_not_cached(
    source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_and_remove(*arguments: Any) -> InteractionLog:  # noqa: ANN401 - those of read_log
        log = read_log(*arguments)
        source.unlink()
        return log

    monkeypatch.setattr(log_cache, "read_log", read_and_remove)
    log, told = LogCache(folder, 1).read(source, {})
    assert (len(log), told) == (3, ("not cached: the files changed while they were read",))


def test_a_cache_that_can_only_be_read_is_read(
    folder: Path, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    read()
    (path,) = files_in(folder)
    monkeypatch.setattr(os, "utime", refuse)
    assert read()[1] == (f"read from the cache: {path}",)


def test_another_trainer_may_remove_what_is_being_counted(
    source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    glob = Path.glob

    def glob_what_is_gone(self: Path, pattern: str) -> list[Path]:
        return [*glob(self, pattern), self / f"gone{log_cache.ENDING}"]

    monkeypatch.setattr(Path, "glob", glob_what_is_gone)
    assert LogCache(folder, 1).read(source, {})[1][0].startswith("cached for the next time")


def test_what_another_trainer_writes_is_left_to_it(source: Path, folder: Path, read: Read) -> None:
    read()
    (path,) = files_in(folder)
    size = path.stat().st_size
    path.unlink()
    written, killed = (folder / f"{name}{log_cache.ENDING}.part" for name in ("a", "b"))
    for part in (written, killed):
        part.write_bytes(b"x" * size)
    two_hours_ago = written.stat().st_mtime - 7200
    os.utime(killed, (two_hours_ago, two_hours_ago))
    assert LogCache(folder, 1, max_cache_bytes=size).read(source, {})[1][0].startswith("cached")
    assert files_in(folder) == sorted([path, written])


def test_several_files_and_packed_ones_are_cached_too(tmp_path: Path, folder: Path) -> None:
    for name in "ab":
        packed = gzip.compress(f"user_id,item_id\n{name},1\n".encode(), mtime=0)
        (tmp_path / f"{name}.csv.gz").write_bytes(packed)
    cache = LogCache(folder, 1)
    first, _ = cache.read(tmp_path / "*.gz", {})
    second, (told,) = cache.read(tmp_path / "*.gz", {})
    assert told.startswith("read from the cache")
    assert is_same(first, second)
    assert second.user_ids.to_list() == ["a", "b"]


def test_a_bad_log_is_refused_and_not_cached(source: Path, folder: Path, read: Read) -> None:
    source.write_text("user_id,item_id\n1,\n")
    with pytest.raises(BadInputError, match="the id is empty"):
        read()
    assert not folder.exists()
