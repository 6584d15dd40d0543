import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from service import availability as module
from service.availability import (
    EVERYTHING_AVAILABLE,
    AvailabilityFile,
    availability_of,
    require_readable,
)
from service.errors import SettingsError


def replaced(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text)
    new.rename(path)


def test_a_change_counts_at_the_next_look(tmp_path: Path) -> None:
    path = tmp_path / "unavailable.txt"
    availability = AvailabilityFile(path)
    assert availability().item_ids == frozenset()
    replaced(path, "i1\n  i 2 \n\n")
    first = availability()
    assert first.item_ids == {"i1", "i 2"}
    assert availability() is first
    replaced(path, "i1\n  i 3 \n\n")  # of the same size, and perhaps of the same instant
    second = availability()
    assert second.item_ids == {"i1", "i 3"}
    assert second.version != first.version
    path.unlink()
    assert availability().item_ids == frozenset()


@pytest.mark.parametrize("content", [b"\xff\xfe", b"x" * (32 * 2**20 + 1)], ids=["bytes", "size"])
def test_what_cannot_be_read_leaves_the_list_in_force(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "unavailable.txt"
    path.write_text("i1")
    availability = AvailabilityFile(path)
    availability()
    path.write_bytes(content)
    assert availability().item_ids == {"i1"}
    assert "cannot be read" in caplog.text
    replaced(path, "i2")
    assert availability().item_ids == {"i2"}


def test_what_cannot_be_looked_at_leaves_the_list_in_force_and_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / "unavailable.txt"
    path.write_text("i1")
    availability = AvailabilityFile(path)
    path.unlink()
    folder.rmdir()
    folder.write_text("no folder")
    assert [availability().item_ids for _ in range(3)] == [{"i1"}] * 3
    assert caplog.text.count("cannot be read") == 1
    assert "NotADirectoryError" in str(caplog.records[-1].__dict__["fields"])
    folder.unlink()
    assert availability().item_ids == frozenset()
    folder.write_text("no folder, again")
    availability()
    assert caplog.text.count("cannot be read") == 2


@pytest.mark.parametrize("start", [availability_of, require_readable])
def test_whoever_starts_with_what_cannot_be_read_is_refused(
    tmp_path: Path, start: Callable[[Path], object]
) -> None:
    """Nobody knows what was to be hidden: nothing is served rather than all of it."""
    bad = tmp_path / "bad"
    bad.write_bytes(b"\xffi1")
    for path in (bad, bad / "below", tmp_path):
        with pytest.raises(SettingsError, match=r"^FOLDIN_UNAVAILABLE_FILE: "):
            start(path)


def test_a_file_that_is_not_there_at_the_start_may_come_and_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "unavailable.txt"
    require_readable(path)
    (line,) = caplog.records
    assert (line.levelname, line.__dict__["fields"]) == ("WARNING", {"path": str(path)})
    path.write_text("i1")
    require_readable(path)
    require_readable(None)
    assert len(caplog.records) == 1


def test_an_error_that_passes_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "unavailable.txt"
    availability = AvailabilityFile(path)
    path.write_text("i1")

    def fails(_: Path) -> bytes:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as out_of_handles:
        out_of_handles.setattr(module, "_content_of", fails)
        assert availability() == availability() == EVERYTHING_AVAILABLE
    assert caplog.text.count("cannot be read") == 1
    assert availability().item_ids == {"i1"}


def test_the_mark_of_spreadsheets_is_no_part_of_an_id(tmp_path: Path) -> None:
    path = tmp_path / "unavailable.txt"
    path.write_bytes("\ufeffi1\ni2".encode())
    assert AvailabilityFile(path)().item_ids == {"i1", "i2"}


def test_only_what_ends_a_line_in_a_file_ends_an_id(tmp_path: Path) -> None:
    path = tmp_path / "unavailable.txt"
    path.write_bytes("i\u20281\ni\x0b2\x85\r\ni3\ri4\n\n \t\n".encode())
    assert AvailabilityFile(path)().item_ids == {"i\u20281", "i\x0b2\x85", "i3", "i4"}


def test_without_a_file_everything_is_available() -> None:
    assert availability_of(None)() == EVERYTHING_AVAILABLE


def test_a_change_of_its_mode_alone_is_a_reason_to_read_it_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Then it may be readable at last."""
    path = tmp_path / "unavailable.txt"
    availability = AvailabilityFile(path)
    path.write_bytes(b"\xff")
    availability()
    availability()
    assert len(caplog.messages) == 1
    path.chmod(0o640)
    availability()
    assert len(caplog.messages) == 2
