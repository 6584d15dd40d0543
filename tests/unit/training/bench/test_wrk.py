"""What we tell ``wrk`` and what it tells us."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from training.bench import wrk
from training.bench.client import AsyncioClosedLoop
from training.bench.load import Target
from training.bench.wrk import Wrk, closed_loop, parse, write_script
from training.errors import BadInputError

Start = Callable[[Callable[[int], int]], tuple[int, list[bytes]]]
OUTPUT = b"""Running 1s test @ http://127.0.0.1:1
  64 requests in 1.00s
Requests/sec:  64
{"requests":64,"microseconds":1250000,"p50":1500,"p99":20250,"status":2,"broken":1}
"""


def test_the_figures_are_read_from_the_line_of_the_script() -> None:
    load = parse(OUTPUT)
    assert (load.requests, load.errors, load.seconds) == (64, 3, 1.25)
    assert (load.p50_ms, load.p99_ms, load.rps) == (1.5, 20.25, 51.2)


def test_an_output_without_figures_is_an_error() -> None:
    with pytest.raises(BadInputError, match="no figures: unable to connect"):
        parse(b"unable to connect\n")


def test_the_script_reads_one_body_a_line_wherever_they_are(tmp_path: Path) -> None:
    folder = tmp_path / 'a "quoted" folder'
    folder.mkdir()
    script = write_script(folder, Target(1, (b"{}", b'{"k":1}')))
    assert (folder / "bodies.jsonl").read_bytes() == b'{}\n{"k":1}\n'
    assert '\\"quoted\\"' in script.read_text()


def test_without_wrk_our_own_client_drives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert isinstance(closed_loop(), AsyncioClosedLoop)
    monkeypatch.setattr(shutil, "which", lambda _: "/somewhere/wrk")
    assert closed_loop().name == "wrk"


def test_a_wrk_that_fails_is_an_error(tmp_path: Path) -> None:
    binary = tmp_path / "wrk"
    binary.write_text("#!/bin/sh\necho no luck >&2\nexit 1\n")
    binary.chmod(0o755)
    with pytest.raises(BadInputError, match="wrk failed: no luck"):
        Wrk(str(binary)).drive(Target(1, (b"{}",)), 1, 1)


@pytest.mark.skipif(not shutil.which("wrk"), reason="no wrk: apt-get install wrk")
def test_the_real_wrk_rotates_over_the_bodies_and_counts_failures(tiny_server: Start) -> None:
    port, bodies = tiny_server(lambda number: 500 if number % 2 else 200)
    load = wrk.closed_loop().drive(Target(port, (b'{"k":1}', b'{"k":2}')), 2, 1)
    assert set(bodies) == {b'{"k":1}', b'{"k":2}'}
    assert load.requests > 10
    assert load.errors == pytest.approx(load.requests / 2, abs=3)
    assert 0 < load.p50_ms <= load.p99_ms
