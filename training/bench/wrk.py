"""Closed-loop load by ``wrk``, which costs the machine less than any client in Python."""

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final, final

import orjson

from training.bench.client import AsyncioClosedLoop
from training.bench.load import ClosedLoop, Load, Target
from training.errors import BadInputError

# Each thread starts at another body. ``done`` speaks JSON, on a line of its own.
SCRIPT: Final = """\
local bodies = {}
for line in io.lines(%(bodies)s) do bodies[#bodies + 1] = line end
local requests, turn, threads = {}, 0, 0
function setup(thread)
  thread:set("first", threads * 37)
  threads = threads + 1
end
function init(args)
  turn = first
  local headers = { ["Content-Type"] = "application/json" }
  for i, body in ipairs(bodies) do
    requests[i] = wrk.format("POST", "/recommend", headers, body)
  end
end
function request()
  turn = turn + 1
  return requests[turn %% #requests + 1]
end
function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format(
    '{"requests":%%d,"microseconds":%%d,"p50":%%d,"p99":%%d,"status":%%d,"broken":%%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.status, e.connect + e.read + e.write + e.timeout))
end
"""
TIMEOUT_S: Final = 30


@final
class Wrk:
    """Drives with the ``wrk`` program."""

    name = "wrk"

    def __init__(self, binary: str) -> None:
        self._binary = binary

    def drive(self, target: Target, connections: int, seconds: float) -> Load:
        """Keep the connections busy for that long; ``wrk`` counts in whole seconds.

        Raises:
            BadInputError: ``wrk`` failed; its words are the message.
        """
        with tempfile.TemporaryDirectory(prefix="foldin-wrk-") as folder:
            script = write_script(Path(folder), target)
            command = [
                self._binary,
                *("--threads", "1"),  # enough for 100,000 requests a second
                *("--connections", str(connections)),
                *("--duration", f"{max(1, round(seconds))}s"),
                *("--timeout", f"{TIMEOUT_S}s"),
                *("--script", str(script)),
                f"http://127.0.0.1:{target.port}",
            ]
            done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - no shell
        if done.returncode:
            words = (done.stderr or done.stdout).decode(errors="replace").strip()
            raise BadInputError(f"wrk failed: {words}")
        return parse(done.stdout)


def closed_loop() -> ClosedLoop:
    """Pick who drives: ``wrk`` where it is on PATH, else a client of our own."""
    binary = shutil.which("wrk")
    return Wrk(binary) if binary else AsyncioClosedLoop()


def write_script(folder: Path, target: Target) -> Path:
    """Write the bodies, one a line, and the Lua script that rotates over them."""
    bodies = folder / "bodies.jsonl"
    bodies.write_bytes(b"".join(body + b"\n" for body in target.bodies))
    script = folder / "rotate.lua"
    # A JSON string of a path is a Lua string, too.
    script.write_text(SCRIPT % {"bodies": orjson.dumps(str(bodies)).decode()})
    return script


def parse(output: bytes) -> Load:
    """Read the line that the script wrote.

    Raises:
        BadInputError: There is none.
    """
    lines = [line for line in output.splitlines() if line.startswith(b'{"requests"')]
    if not lines:
        raise BadInputError(f"wrk told no figures: {output.decode(errors='replace').strip()}")
    told = orjson.loads(lines[-1])
    return Load(
        requests=told["requests"],
        errors=told["status"] + told["broken"],
        seconds=told["microseconds"] / 1e6,
        p50_ms=told["p50"] / 1e3,
        p99_ms=told["p99"] / 1e3,
    )
