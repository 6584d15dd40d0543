"""What a process and all its children use, by what Linux says in /proc."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

PROC: Final = Path("/proc")


@final
@dataclass(frozen=True, slots=True)
class Memory:
    """What processes hold, pages that they share counted once.

    Attributes:
        own_bytes: Made by them; it cannot be taken away.
        file_bytes: Parts of files, the weights of a model among them. The system takes such pages
            back where memory is short, and reads them again.
    """

    own_bytes: int
    file_bytes: int


def cpu_seconds(pid: int, proc: Path = PROC) -> float | None:
    """Sum the processor time of a process and its living children; None where no one says."""
    if not (proc / str(pid)).exists():
        return None
    ticks = os.sysconf("SC_CLK_TCK")
    return sum(_ticks(number, proc) for number in tree(pid, proc)) / ticks


def pss_bytes(pid: int, proc: Path = PROC) -> int | None:
    """Sum the proportional set size of a process and its children: shared pages count once.

    None where no one says.
    """
    sizes = [told["Pss"] for number in tree(pid, proc) if (told := _rollup(number, proc))]
    return sum(sizes) if sizes else None


def memory(pid: int, proc: Path = PROC) -> Memory | None:
    """Tell the memory of a process and its children apart by where it comes from.

    None where no one says.
    """
    told = [rollup for number in tree(pid, proc) if "Pss_Anon" in (rollup := _rollup(number, proc))]
    if not told:
        return None
    return Memory(
        own_bytes=sum(rollup["Pss_Anon"] + rollup["Pss_Shmem"] for rollup in told),
        file_bytes=sum(rollup["Pss_File"] for rollup in told),
    )


def tree(pid: int, proc: Path = PROC) -> list[int]:
    """List a process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for number, fields in _stats(proc):
        children.setdefault(int(fields[1]), []).append(number)
    found = [pid]
    for number in found:  # grows as it goes
        found.extend(children.get(number, []))
    return found


def _stats(proc: Path) -> Iterator[tuple[int, list[str]]]:
    for folder in proc.glob("[0-9]*"):
        fields = _stat(int(folder.name), proc)
        if fields:
            yield int(folder.name), fields


def _stat(pid: int, proc: Path) -> list[str]:
    """Give what follows the name: state, parent, and so on (proc(5)); nothing if it is gone."""
    try:
        text = (proc / str(pid) / "stat").read_text()
    except OSError:
        return []
    return text.rpartition(")")[2].split()  # a name may hold spaces and brackets


def _ticks(pid: int, proc: Path) -> int:
    fields = _stat(pid, proc)
    return int(fields[11]) + int(fields[12]) if fields else 0  # user and system time


def _rollup(pid: int, proc: Path) -> dict[str, int]:
    """Read sizes in bytes by name (proc_pid_smaps(5)); nothing if the process is gone."""
    try:
        lines = (proc / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return {}
    sizes = (line.split() for line in lines if line.endswith(" kB"))
    return {name.rstrip(":"): int(size) * 1024 for name, size, _ in sizes}
