"""The tables fit a terminal and hold the figures."""

from dataclasses import replace

from rich.console import Console
from rich.table import Table

from training.bench.decode import DecodeRow, ExactnessRow
from training.bench.scoring import ScoreRow
from training.bench.serving import ServeReport, ServeRow
from training.bench.stages import StageRow
from training.bench.tables import (
    decode_table,
    exactness_table,
    score_table,
    serve_tables,
    train_table,
)
from training.bench.training_race import TrainSummary

ROW = ServeRow("foldin", "64 conn", 2850.4, 12.345, 40.0, 0.351, 0, 0.61, 15.2, 0.07)
REPORT = ServeReport(
    workers=2,
    driver="wrk",
    rows=(ROW, replace(ROW, server="naive"), replace(ROW, server="ceiling", cpu_s_per_1000=None)),
    ready_s={"foldin": 1.5, "naive": 2.0},
    pss_bytes={"foldin": 200 << 20, "naive": None},
    stages=(StageRow("engine", 1234, 5.5, 86.0),),
    mean_batch=64.0,
)


def shown(table: Table) -> str:
    console = Console(width=80, force_terminal=False)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_a_load_row_is_one_line_of_eighty_columns() -> None:
    loads, processes, stages = (shown(table) for table in serve_tables(REPORT))
    (line,) = [line for line in loads.splitlines() if "foldin" in line]
    for figure in ("64 conn", "2,850", "12.35", "40.00", "3.24", "0.351", "0.61", "15.20", "0.07"):
        assert figure in line
    assert "failed" not in loads
    assert "2 workers" in loads
    assert "200" in processes
    assert "1,234" in stages
    assert "64.0 rows a batch" in stages


def test_failed_requests_are_said_and_missing_batches_are_not() -> None:
    failing = replace(REPORT, rows=(replace(ROW, errors=12),), workers=1, mean_batch=None)
    loads, _, stages = (shown(table) for table in serve_tables(failing))
    assert "12 requests failed" in " ".join(loads.split())
    assert "1 worker each" in loads
    assert "batch" not in stages


def test_decoding_shows_ratios_and_what_is_not_told() -> None:
    assert "5.25" in shown(decode_table([DecodeRow("int8", 1, 20, 0.4, 2.1, 5.25)]))
    rows = [ExactnessRow("int8", 20, 5000, 0.9998, 0.042), ExactnessRow("x", 20, 5, 1.0, None)]
    text = shown(exactness_table(rows))
    assert "99.980%" in text
    assert "4.20%" in text
    assert "not told" in text


def test_scoring_says_when_implicit_is_missing() -> None:
    rows = [ScoreRow("int8", 5034.2, 4.84, None, 1.0)]
    assert "pip install implicit" in shown(score_table(rows, has_implicit=False))
    rows = [ScoreRow("int8", 5034.2, 4.84, 1.7, 1.0)]
    text = shown(score_table(rows, has_implicit=True))
    assert "1.70" in text
    assert "pip install" not in text


def test_training_says_whether_the_curves_are_equal() -> None:
    summary = TrainSummary(
        users_per_second={"foldin": 720.0, "dense": 447.0},
        speedup=1.61,
        peak_bytes={"foldin": 900 << 20, "dense": 1000 << 20},
        losses={"foldin": (10.0, 9.0), "dense": (10.0, 9.1)},
        loss_fall=0.09,
        loss_gap=0.011,
        loss_noise=0.02,
        equal_losses=True,
    )
    text = " ".join(shown(train_table(summary)).split())
    assert "1.61 times as fast" in text
    assert "equal within noise" in text
    assert "loss 2" in text
    otherwise = shown(train_table(replace(summary, equal_losses=False)))
    assert "NOT EQUAL" in " ".join(otherwise.split())
