"""A bundle comes whole or not at all, whoever else writes there and whoever died there."""

import errno
import fcntl
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from service import publication
from service.publication import POINTER, publish

VERSION = "20260102T030405Z-0123abcd"
OLDER = "20250102T030405Z-89abcdef"
FILES = {"manifest.json": b"{}", "model.safetensors": b"weights"}


def names(model_dir: Path) -> set[str]:
    return {path.name for path in model_dir.iterdir()}


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    """A model directory with one bundle."""
    publish(OLDER, FILES, tmp_path / "models")
    return tmp_path / "models"


def test_a_bundle_is_what_it_was_given_and_the_pointer_names_it(model_dir: Path) -> None:
    bundle = publish(VERSION, FILES, model_dir)
    assert bundle == model_dir / VERSION
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == FILES
    assert (model_dir / POINTER).read_text() == VERSION
    assert names(model_dir) == {OLDER, VERSION, POINTER}


def test_what_killed_writers_left_goes_and_nothing_else_does(model_dir: Path) -> None:
    left = model_dir / f".{VERSION}.123"
    left.mkdir()
    (left / "model.safetensors").write_bytes(b"half of it")
    (model_dir / f".{POINTER}.123").write_text(VERSION)
    (model_dir / f".{OLDER}.77").symlink_to(model_dir / OLDER)
    others = {".training.lock", f".{VERSION}", f".{VERSION}.old", "notes.txt"}
    for name in others:
        (model_dir / name).touch()
    publish(VERSION, FILES, model_dir)
    assert names(model_dir) == {OLDER, VERSION, POINTER, *others}
    assert {path.name for path in (model_dir / OLDER).iterdir()} == set(FILES)


def test_a_writer_waits_for_the_one_before_it_and_leaves_its_files_alone(model_dir: Path) -> None:
    lock = os.open(model_dir, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    living = model_dir / f".{VERSION}.123"
    living.mkdir()
    writer = threading.Thread(target=publish, args=(VERSION, FILES, model_dir))
    writer.start()
    writer.join(0.2)
    assert writer.is_alive()
    assert names(model_dir) == {OLDER, POINTER, living.name}
    os.close(lock)
    writer.join(10)
    assert names(model_dir) == {OLDER, VERSION, POINTER}


def test_without_locks_a_writer_writes_and_clears_nothing(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(descriptor: int, operation: int) -> None:
        del descriptor, operation
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unknown)
    living = model_dir / f".{VERSION}.123"
    living.mkdir()
    publish(VERSION, FILES, model_dir)
    assert names(model_dir) == {OLDER, VERSION, POINTER, living.name}


def full_at(name: str, write: Callable[[Path, bytes], None]) -> Callable[[Path, bytes], None]:
    def full(path: Path, content: bytes) -> None:
        if name in path.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, content)

    return full


@pytest.mark.parametrize("name", [*FILES, POINTER])
def test_a_disk_that_fills_up_leaves_the_old_model_in_place(
    model_dir: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publication, "_write_durably", full_at(name, publication._write_durably))
    with pytest.raises(OSError, match="No space left"):
        publish(VERSION, FILES, model_dir)
    assert names(model_dir) == {OLDER, POINTER}
    assert (model_dir / POINTER).read_text() == OLDER


@pytest.mark.parametrize("occupied", [[POINTER], [POINTER, VERSION]])
def test_what_cannot_be_put_in_place_is_taken_away_and_what_was_there_stays(
    model_dir: Path, occupied: list[str]
) -> None:
    (model_dir / POINTER).unlink()
    for name in occupied:
        (model_dir / name).mkdir()
        (model_dir / name / "mine").touch()
    with pytest.raises(OSError, match=r"directory|not empty"):
        publish(VERSION, FILES, model_dir)
    assert names(model_dir) == {OLDER, *occupied}
    assert all((model_dir / name / "mine").exists() for name in occupied)


def test_ctrl_c_when_the_pointer_has_moved_leaves_the_bundle_that_it_names(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(folder: Path) -> None:
        if folder == model_dir and (model_dir / POINTER).read_text() == VERSION:
            raise KeyboardInterrupt

    monkeypatch.setattr(publication, "_sync_folder", interrupted)
    with pytest.raises(KeyboardInterrupt):
        publish(VERSION, FILES, model_dir)
    assert names(model_dir) == {OLDER, VERSION, POINTER}
    assert (model_dir / POINTER).read_text() == VERSION
    assert {path.name for path in (model_dir / VERSION).iterdir()} == set(FILES)
