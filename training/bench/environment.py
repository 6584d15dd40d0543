"""Where and with what a measurement ran: figures without that are worth nothing."""

import os
import platform
import shlex
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from service.settings import available_cores

CPUINFO: Final = Path("/proc/cpuinfo")
# What decides how fast products are, of the hundred flags that a processor has.
INSTRUCTION_SETS: Final = (
    "sse4_2", "avx", "fma", "f16c", "avx2", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni",
    "avx512_bf16", "avx512_fp16", "amx_int8", "amx_bf16", "asimd", "asimddp", "i8mm", "bf16", "sve",
)  # fmt: skip
LIBRARIES: Final = (
    "foldin", "torch", "numpy", "scipy", "onnxruntime", "fastapi", "pydantic", "uvicorn", "uvloop",
    "httptools", "orjson", "msgspec", "implicit",
)  # fmt: skip


def environment(now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> dict[str, Any]:
    """Describe machine, libraries and command line, ready for JSON."""
    model, flags = processor(CPUINFO)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None  # Windows has none
    return {
        "processor": model or platform.processor() or platform.machine(),
        "cores": available_cores(),
        "instruction_sets": [name for name in INSTRUCTION_SETS if name in flags],
        "system": f"{platform.system()} {platform.release()}",
        "load_average": load,
        "python": platform.python_version(),
        "libraries": {name: found for name in LIBRARIES if (found := _version(name))},
        "date": now().isoformat(timespec="seconds"),
        "command": shlex.join(["foldin", *sys.argv[1:]]),
    }


def processor(cpuinfo: Path) -> tuple[str, frozenset[str]]:
    """Read the name and the flags of the first core; empty where the system has no such file."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return "", frozenset()
    fields: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    flags = fields.get("flags") or fields.get("Features") or ""  # the latter on ARM
    return fields.get("model name", ""), frozenset(flags.split())


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None
