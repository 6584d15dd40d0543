import gzip
from pathlib import Path

import pytest

from training.data.watched_file import ignore_bytes, watch_whole, watched

TEXT = b"user_id,item_id\n" * 500


@pytest.mark.parametrize(
    "content",
    [TEXT, gzip.compress(TEXT), gzip.compress(TEXT[:16]) + gzip.compress(TEXT[16:])],
    ids=["plain", "packed", "packed in two"],  # packed bytes hold the time
)
def test_all_bytes_are_seen_as_they_stand_in_the_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    read, whole = bytearray(), bytearray()
    with watched(path, read.extend) as file:
        assert b"".join(iter(lambda: file.read(100), b"")) == TEXT
    watch_whole(path, whole.extend)
    assert read == whole == content


def test_a_file_can_be_read_unseen(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with watched(tmp_path / "file", ignore_bytes) as file:
        assert file.read(1) == b""
    (tmp_path / "file").write_bytes(TEXT)
    with watched(tmp_path / "file", ignore_bytes) as file:
        assert file.read(len(TEXT) + 1) == TEXT
