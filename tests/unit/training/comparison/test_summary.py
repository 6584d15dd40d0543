"""Rows out of runs: means, deviations, the order, the best."""

import io
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from rich.console import Console

from training.comparison.contender import Contender
from training.comparison.journal import DataFacts, Journal
from training.comparison.run import Run, failed_run
from training.comparison.summary import Row, summarize, summary_record
from training.comparison.tables import comparison_tables
from training.data.datasets import Dataset

MakeContender = Callable[..., Contender]


def with_recall(run: Run, recall: float) -> Run:
    return run.model_copy(update={"test": {**run.test, "recall@20": recall}})


def shown(rows: Sequence[Row], data: DataFacts) -> str:
    console = Console(file=io.StringIO(), width=120)
    for table in comparison_tables(rows, data):
        console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.fixture
def rows(contender: MakeContender, run: Callable[..., Run], dataset: Dataset) -> list[Row]:
    """Slow is best at recall, quick at time, bad never ran, and half failed under a seed."""
    slow, quick = contender("slow", seconds=60), contender("quick", has_chance=False)
    bad, half = contender("bad"), contender("half", seconds=10)
    journal = Journal(DataFacts.of(dataset))
    for made in (
        with_recall(run(slow, 0), 0.50),
        with_recall(run(slow, 1), 0.60),
        with_recall(run(quick), 0.30),
        failed_run(bad, 0, "needs 12 GB"),
        with_recall(run(half), 0.40),
        failed_run(half, 1, "the loss is nan"),
    ):
        journal.add(made)
    return summarize([slow, quick, bad, half, contender("never-run")], journal)


def test_rows_are_sorted_fastest_first_with_failures_last(rows: list[Row]) -> None:
    assert [row.model for row in rows] == ["quick", "half", "slow", "bad"]
    assert [row.failed for row in rows] == [None, "the loss is nan", None, "needs 12 GB"]


def test_figures_are_means_and_sample_deviations_over_seeds(rows: list[Row]) -> None:
    slow = next(row for row in rows if row.model == "slow")
    recall = slow.figures["recall@20"]
    assert recall.mean == pytest.approx(0.55)
    assert recall.deviation == pytest.approx(0.05 * 2**0.5)
    assert slow.figures["fit_seconds"].mean == 60.5
    assert next(row for row in rows if row.model == "quick").figures["recall@20"].deviation is None


def test_the_best_of_every_column_is_marked(rows: list[Row]) -> None:
    best = {
        name: [row.model for row in rows if name in row.figures and row.figures[name].is_best]
        for name in ("recall@20", "fit_seconds", "ndcg@100")
    }
    assert best == {
        "recall@20": ["slow"],
        "fit_seconds": ["quick"],
        "ndcg@100": ["quick", "half", "slow"],  # the same ranker: a tie has several
    }


def test_the_record_tells_every_figure(rows: list[Row]) -> None:
    record = {entry["model"]: entry for entry in summary_record(rows)}
    assert record["slow"]["runs"] == 2
    assert record["slow"]["recall@20"]["mean"] == pytest.approx(0.55)
    assert record["slow"]["recall@20"]["best"]
    assert record["bad"] == {"model": "bad", "runs": 0, "failed": "needs 12 GB"}


def test_the_tables_say_whom_they_are_over_and_what_is_best(
    rows: list[Row], dataset: Dataset
) -> None:
    text = shown(rows, DataFacts.of(dataset))
    users = DataFacts.of(dataset).test_users
    assert f"planted: {users} test users ({30 - users} without a target left out)" in text
    assert "0.5500 ±0.0707*" in text
    assert "coverage@20" in text
    assert "recall_all@20" not in text
    assert "during the run" in text


def test_splits_of_the_same_users_show_hits_over_all_targets(
    rows: list[Row], dataset: Dataset
) -> None:
    weak = replace(dataset, split=replace(dataset.split, protocol="given-weak"))
    text = shown(rows, DataFacts.of(weak))
    assert "recall_all@20" in text
    assert "ndcg@20" in text


def test_memory_that_is_not_of_the_run_is_said_to_be_so(rows: list[Row], dataset: Dataset) -> None:
    runs = tuple(run.model_copy(update={"peak_is_of_run": False}) for run in rows[0].runs)
    text = shown([replace(rows[0], runs=runs)], DataFacts.of(dataset))
    assert "tells no other" in text


def test_nothing_but_failures_gives_no_tables(rows: list[Row], dataset: Dataset) -> None:
    failed = [row for row in rows if not row.runs]
    assert failed
    assert comparison_tables(failed, DataFacts.of(dataset)) == []


def test_values_that_print_alike_are_all_the_best(
    contender: MakeContender, run: Callable[..., Run], dataset: Dataset
) -> None:
    first, second, third = contender("first"), contender("second"), contender("third")
    journal = Journal(DataFacts.of(dataset))
    for made, recall in ((first, 0.500049), (second, 0.499951), (third, 0.49994)):
        journal.add(with_recall(run(made), recall))
    rows = summarize([first, second, third], journal)
    assert [row.figures["recall@20"].is_best for row in rows] == [True, True, False]
    text = shown(rows, journal.data)
    assert text.count("0.5000*") == 2
    assert "0.4999 " in text


def test_ndcg_is_told_by_the_length_of_histories(
    contender: MakeContender, run: Callable[..., Run], dataset: Dataset
) -> None:
    made, other = contender("made"), contender("other", has_chance=False)
    journal = Journal(DataFacts.of(dataset))
    for measured, short, long in (
        (run(made, 0), 0.2, 0.61),
        (run(made, 1), 0.4, 0.62),
        (run(other), 0.3, 0.5),
    ):
        bands = {
            "history 0-9": {"ndcg@100": short, "users": 1021},
            "history 10-49": {"ndcg@100": long, "users": 7},
        }
        journal.add(measured.model_copy(update={"test_by_history": bands}))
    tables = comparison_tables(summarize([made, other], journal), journal.data)
    table = {table.title: table for table in tables}["NDCG@100 by the number of items in a history"]
    assert [column.header for column in table.columns] == [
        "", "0-9\n(1,021 users)", "10-49\n(7 users)",
    ]  # fmt: skip
    assert len(tables) == 3
    cells = [list(column.cells) for column in table.columns]
    assert cells == [
        ["other", "made"],
        ["0.3000*", "0.3000 ±0.1414*"],
        ["0.5000", "0.6150 ±0.0071*"],
    ]


def test_models_of_ratings_have_one_table_of_errors(
    contender: MakeContender,
    run: Callable[..., Run],
    dataset: Dataset,
) -> None:
    made = contender("autorec")
    test = {"rmse": 0.8412, "mae": 0.66, "ratings": 1000, "strays": 3}
    journal = Journal(DataFacts.of(dataset))
    journal.add(run(made).model_copy(update={"test": test}))
    text = shown(summarize([made], journal), journal.data)
    assert "1,000 test ratings (3 of unknown users" in text
    assert "0.8412*" in text
    assert "coverage" not in text
