"""How much memory there is, and how much was used."""

import resource
import sys
from pathlib import Path
from typing import Final

MEMINFO: Final = Path("/proc/meminfo")
CGROUP_LIMIT: Final = Path("/sys/fs/cgroup/memory.max")
CGROUP_USED: Final = Path("/sys/fs/cgroup/memory.current")
MB: Final = 10**6
GB: Final = 10**9
CLEAR_REFS: Final = Path("/proc/self/clear_refs")
STATUS: Final = Path("/proc/self/status")


def available_bytes() -> int | None:
    """Tell how much memory can still be taken without swapping; None where no one says."""
    known = [size for size in (_machine(), _container()) if size is not None]
    return min(known, default=None)


def peak_bytes() -> int:
    """Give the most memory that this process has held so far.

    Linux says so in two places. getrusage(2) counts what the parent held when it started this
    process, so that nothing smaller ever shows there.
    """
    own = _kib_of("VmHWM", STATUS)
    if own is not None:
        return own
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB


def told(size_bytes: float) -> str:
    """Say a size in gigabytes, or in megabytes where it is less than one."""
    if size_bytes < GB:
        return f"{size_bytes / MB:,.0f} MB"
    return f"{size_bytes / GB:,.1f} GB"


def forget_peak() -> bool:
    """Let ``peak_bytes`` start anew from what is held now; tell whether the system can do that."""
    try:
        CLEAR_REFS.write_text("5")  # proc(5): "reset the peak resident set size"
    except OSError:
        return False
    return True


def _machine() -> int | None:
    return _kib_of("MemAvailable", MEMINFO)


def _kib_of(name: str, path: Path) -> int | None:
    """Find a size in a file of ``Name: 12 kB``, in bytes; None where there is none."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), None)


def _container() -> int | None:
    try:
        return int(CGROUP_LIMIT.read_text()) - int(CGROUP_USED.read_text())
    except (OSError, ValueError):  # no such file, or "max"
        return None
