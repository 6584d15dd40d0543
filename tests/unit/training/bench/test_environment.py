"""What a record says of the machine."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from training.bench.environment import environment, processor


def test_name_and_flags_are_those_of_the_first_core(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("model name\t: Fast One\nflags\t\t: fpu avx2\n\nmodel name\t: Other\n")
    assert processor(file) == ("Fast One", frozenset({"fpu", "avx2"}))


def test_an_arm_core_has_features(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nFeatures\t: asimd i8mm\n")
    assert processor(file) == ("", frozenset({"asimd", "i8mm"}))


def test_without_the_file_nothing_is_known(tmp_path: Path) -> None:
    assert processor(tmp_path / "gone") == ("", frozenset())


def test_the_record_has_the_command_the_date_and_what_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.argv", ["/somewhere/foldin", "bench", "decode", "a b"])
    record = environment(lambda: datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC))
    assert record["command"] == "foldin bench decode 'a b'"
    assert record["date"] == "2026-03-04T05:06:07+00:00"
    assert record["cores"] >= 1
    assert {"torch", "numpy", "uvicorn"} <= set(record["libraries"])
    assert record["processor"]
