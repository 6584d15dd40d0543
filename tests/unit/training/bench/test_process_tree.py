"""What /proc says of a process and its children."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from training.bench.process_tree import Memory, cpu_seconds, memory, pss_bytes, tree


def write_process(proc: Path, pid: int, parent: int, ticks: int, pss_kib: int | None) -> None:
    folder = proc / str(pid)
    folder.mkdir()
    times = f"{ticks} {ticks}"
    (folder / "stat").write_text(f"{pid} (a (b) c) S {parent} " + "0 " * 9 + times + " 0 0")
    if pss_kib is not None:
        (folder / "smaps_rollup").write_text(
            f"55d0-7ffd ---p 00000000 00:00 0 [rollup]\nRss: 9 kB\nPss:   {pss_kib} kB\n"
            f"Pss_Anon: {pss_kib - 3} kB\nPss_File: 2 kB\nPss_Shmem: 1 kB\n"
        )


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    write_process(tmp_path, 10, 1, 100, 50)
    write_process(tmp_path, 11, 10, 200, 7)
    write_process(tmp_path, 12, 11, 300, None)
    write_process(tmp_path, 13, 1, 400, 1000)
    (tmp_path / "14").mkdir()  # gone by the time it is read
    return tmp_path


def test_grandchildren_belong_to_the_tree_and_strangers_do_not(proc: Path) -> None:
    assert sorted(tree(10, proc)) == [10, 11, 12]


def test_processor_time_and_memory_add_up(proc: Path) -> None:
    assert cpu_seconds(10, proc) == 2 * 600 / os.sysconf("SC_CLK_TCK")
    assert pss_bytes(10, proc) == 57 * 1024
    assert memory(10, proc) == Memory(own_bytes=53 * 1024, file_bytes=4 * 1024)


def test_who_is_not_there_uses_nothing_that_is_known(proc: Path) -> None:
    assert cpu_seconds(99, proc) is None
    assert pss_bytes(99, proc) is None
    assert memory(99, proc) is None


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_real_child_is_found_with_what_it_used() -> None:
    code = "import time\nwhile time.process_time() < .2: pass\nprint(flush=True)\ninput()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert child.pid in tree(os.getpid())
        used_s = cpu_seconds(child.pid)
        size = pss_bytes(child.pid)
        child.communicate(b"\n")
    assert used_s is not None
    assert used_s >= 0.15
    assert size is not None
    assert size > 1 << 20
