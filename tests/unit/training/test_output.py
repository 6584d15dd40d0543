"""The folder that a run writes to is tried first, and is one run's at a time."""

import errno
import fcntl
import os
from pathlib import Path

import pytest
from safetensors import SafetensorError

from service.publication import POINTER
from training.errors import BadInputError
from training.output import LOCK_FILE, held, named_faults


def test_a_folder_is_made_held_and_left_without_a_trace(tmp_path: Path) -> None:
    with held(tmp_path / "far" / "models"):
        lock = tmp_path / "far" / "models" / LOCK_FILE
        assert lock.read_text() == f"{os.getpid()}\n"
    assert list((tmp_path / "far" / "models").iterdir()) == []


def test_a_folder_that_is_held_is_refused_with_the_process_that_has_it(tmp_path: Path) -> None:
    with (
        held(tmp_path),
        pytest.raises(BadInputError, match=rf"another run \(process {os.getpid()}\)"),
        held(tmp_path),
    ):
        pytest.fail("two hold it")
    with held(tmp_path):  # and it is free again
        assert (tmp_path / LOCK_FILE).exists()


def test_a_run_that_fails_lets_go(tmp_path: Path) -> None:
    with pytest.raises(MemoryError), held(tmp_path):
        raise MemoryError
    assert list(tmp_path.iterdir()) == []


def test_the_file_of_a_killed_run_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).write_text("123456789012\n")
    with held(tmp_path):
        assert (tmp_path / LOCK_FILE).read_text() == f"{os.getpid()}\n"


def test_a_lock_on_a_file_that_was_removed_meanwhile_is_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run before ends between the opening of its file and the lock on it."""
    path, lock = tmp_path / LOCK_FILE, fcntl.flock
    path.touch()
    removed: list[int] = []

    def late(descriptor: int, operation: int) -> None:
        lock(descriptor, operation)
        if not removed:
            removed.append(descriptor)
            path.unlink()

    monkeypatch.setattr(fcntl, "flock", late)
    with held(tmp_path), pytest.raises(BadInputError, match="another run"), held(tmp_path):
        pytest.fail("two hold it")
    assert removed


def test_a_file_system_without_locks_is_written_to_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(descriptor: int, operation: int) -> None:
        del descriptor, operation
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unknown)
    with held(tmp_path):
        assert (tmp_path / LOCK_FILE).exists()


def test_a_folder_in_place_of_the_pointer_is_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / POINTER).mkdir()
    with pytest.raises(BadInputError, match="CURRENT is a directory; choose"), held(tmp_path):
        pytest.fail("no bundle can be published here")
    assert [path.name for path in tmp_path.iterdir()] == [POINTER]


def test_a_folder_without_room_is_refused_and_left_without_a_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, content: bytes) -> int:
        del descriptor, content
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(BadInputError, match="No space left on device; free some"), held(tmp_path):
        pytest.fail("there is no room")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EROFS, "Read-only file system"),
        OSError("Read-only file system"),
        SafetensorError("Error while serializing: I/O error: Read-only file system"),
    ],
)
def test_a_fault_names_the_folder_the_reason_and_the_advice(
    tmp_path: Path, error: Exception
) -> None:
    with pytest.raises(BadInputError) as refusal, named_faults(tmp_path, "do better"):
        raise error
    assert (
        str(refusal.value) == f"{tmp_path} cannot be written to: Read-only file system; do better"
    )
