from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import orjson
import polars as pl
import pytest
from rich.console import Console
from typer.testing import CliRunner

from training.bench import reading
from training.bench.reading import (
    ReadingReport,
    ReadingRun,
    measure_reading,
    read_once,
    reading_table,
    write_csv,
)
from training.errors import BadInputError
from training.verbs.bench import bench


def test_a_drawn_log_has_so_many_rows_half_stars_and_a_head_of_items(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    write_csv(path, 30_000, np.random.default_rng(1))
    frame = pl.read_csv(path)
    assert frame.columns == ["user_id", "item_id", "rating", "timestamp"]
    assert frame.height == 30_000
    assert sorted(frame["rating"].unique()) == [0.5 * step for step in range(1, 11)]
    assert frame.filter(pl.col("item_id") <= 100).height > 3_000


def test_a_log_of_several_draws_has_one_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "ROWS_AT_ONCE", 100)
    write_csv(tmp_path / "log.csv", 250, np.random.default_rng(1))
    assert (tmp_path / "log.csv").read_text().count("user_id") == 1
    assert pl.read_csv(tmp_path / "log.csv").height == 250


def test_the_verb_measures_both_sources_in_processes_of_their_own(tmp_path: Path) -> None:
    arguments = ["read", "--rows", "20000", "--json", str(tmp_path / "read.json")]
    said = CliRunner().invoke(bench, arguments, env={"COLUMNS": "120"})
    assert said.exit_code == 0, said.output
    assert "20,000 rows of CSV, 0 MB" in said.output
    report = orjson.loads((tmp_path / "read.json").read_bytes())["read"]
    assert [(run["source"], run["goal"]) for run in report["runs"]] == [
        ("CSV", "log"),
        ("cache", "log"),
        ("CSV", "split"),
        ("cache", "split"),
    ]
    assert all(run["seconds"] > 0 and run["peak_bytes"] >= 0 for run in report["runs"])
    assert 19_000 < report["pairs"] <= 20_000
    assert report["csr_bytes"] > 8 * report["pairs"]


def test_the_table_sets_peaks_beside_the_size_of_the_matrix() -> None:
    run = ReadingRun("CSV", "log", 2.0, 300 * 10**6, "digest")
    console = Console(file=StringIO(), width=120)
    console.print(reading_table(ReadingReport(4_000_000, 10**8, 3_000_000, 10**8, (run,))))
    assert isinstance(console.file, StringIO)
    shown = console.file.getvalue()
    for cell in ("CSV", "log", "2.0", "2.00", "300", "3.00", "100 MB as CSR"):
        assert cell in shown


def test_a_cache_that_gives_something_else_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    digests = iter("abcd")

    def run(path: Path, cache: Path, source: str, goal: str) -> ReadingRun:
        return replace(read_once(path, cache, source, goal), digest=next(digests))

    monkeypatch.setattr(reading, "_run_process", run)
    with pytest.raises(BadInputError, match="something else than the CSV"):
        measure_reading(20_000, 3, lambda _: None)


def test_a_process_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"the reading of the CSV failed: .*no such file"):
        reading._run_process(tmp_path / "no.csv", tmp_path, "CSV", "log")
