from pathlib import Path

import pytest

from service.availability import EVERYTHING_AVAILABLE, AvailabilityFile, availability_of


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


def test_a_folder_in_its_place_leaves_the_list_in_force(tmp_path: Path) -> None:
    path = tmp_path / "unavailable.txt"
    path.write_text("i1")
    availability = AvailabilityFile(path / "below")
    assert availability().item_ids == frozenset()
    path.unlink()
    path.mkdir()
    assert AvailabilityFile(path)() == EVERYTHING_AVAILABLE


def test_without_a_file_everything_is_available() -> None:
    assert availability_of(None)() == EVERYTHING_AVAILABLE


def test_a_file_that_may_be_read_at_last_is_read(tmp_path: Path) -> None:
    path = tmp_path / "unavailable.txt"
    path.mkdir()  # cannot be read, and of a mode that may change; root reads every file
    availability = AvailabilityFile(path)
    assert availability().item_ids == frozenset()
    path.rmdir()
    path.write_text("i1")
    assert availability().item_ids == {"i1"}
