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


def test_a_change_of_its_mode_alone_is_a_reason_to_read_it_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Then it may be readable at last."""
    path = tmp_path / "unavailable.txt"
    path.write_bytes(b"\xff")
    availability = AvailabilityFile(path)
    availability()
    availability()
    assert len(caplog.messages) == 1
    path.chmod(0o640)
    availability()
    assert len(caplog.messages) == 2
