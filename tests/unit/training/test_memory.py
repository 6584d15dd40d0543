import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from training import memory
from training.memory import available_bytes, peak_bytes

ROOT = Path(__file__).parents[3]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CGROUP_LIMIT", tmp_path / "limit")
    monkeypatch.setattr(memory, "CGROUP_USED", tmp_path / "used")
    return tmp_path


def write(folder: Path, **files: str) -> None:
    for name, content in files.items():
        (folder / name).write_text(content)


def test_where_no_one_says_nothing_is_known(folder: Path) -> None:
    assert available_bytes() is None
    write(folder, meminfo="MemTotal:  9 kB\n", limit="max\n", used="5\n")
    assert available_bytes() is None


def test_the_tighter_of_machine_and_container_counts(folder: Path) -> None:
    write(folder, meminfo="MemTotal:  100 kB\nMemAvailable:   64 kB\n")
    assert available_bytes() == 64 * 1024
    write(folder, limit="50000\n", used="20000\n")
    assert available_bytes() == 30_000
    write(folder, limit="9000000\n")
    assert available_bytes() == 64 * 1024


@pytest.mark.parametrize(("platform", "factor"), [("linux", 1024), ("darwin", 1)])
def test_the_peak_is_told_in_bytes(
    platform: str, factor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        ru_maxrss = 7_000

    monkeypatch.setattr(memory, "STATUS", Path("/no/such/file"))
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(resource, "getrusage", lambda _: Usage)
    assert peak_bytes() == 7_000 * factor


def test_a_process_does_not_count_what_its_parent_held() -> None:
    ballast = np.ones(25_000_000)  # 200 MB; an interpreter takes a tenth of that
    code = "from training.memory import peak_bytes; print(peak_bytes())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < ballast.nbytes / 2 < peak_bytes()


def test_this_process_has_held_something() -> None:
    assert peak_bytes() > 10_000_000
