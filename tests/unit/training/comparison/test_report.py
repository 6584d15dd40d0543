"""The report as a file: complete, and in need of nothing else."""

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from training.comparison.contender import Contender
from training.comparison.journal import DataFacts, Journal
from training.comparison.report import write_report
from training.comparison.run import Run, failed_run
from training.comparison.summary import summarize
from training.data.datasets import Dataset

MakeContender = Callable[..., Contender]
VOID = {"meta"}


class Balance(HTMLParser):
    """Refuses tags that are not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def written(
    contender: MakeContender, run: Callable[..., Run], dataset: Dataset, tmp_path: Path
) -> str:
    trained, certain = contender("<b>deep</b>", epochs=5), contender("ease", has_chance=False)
    bad = contender("bad")
    journal = Journal(DataFacts.of(dataset))
    for made in (run(trained), run(trained, 1), run(certain), failed_run(bad, 0, "12 < 13 GB")):
        journal.add(made)
    path = tmp_path / "reports" / "report.html"
    write_report(path, summarize([trained, certain, bad], journal), journal.data)
    return path.read_text(encoding="utf-8")


def test_the_report_has_every_part(written: str) -> None:
    for title in (
        "Models compared on planted",
        "Results",
        "Accuracy and time",
        "Learning curves",
        "Accuracy by history length",
        "Annealing",
        "Settings",
    ):
        assert f">{title}<" in written
    assert "history 0-9 items" in written


def test_the_report_is_well_formed_and_needs_nothing_from_elsewhere(written: str) -> None:
    parser = Balance()
    parser.feed(written)
    assert parser.open == []
    assert not re.findall(r"https?:|src=|href=|@import|url\(", written)


def test_names_and_reasons_are_escaped(written: str) -> None:
    assert "<b>deep" not in written
    assert "&lt;b&gt;deep&lt;/b&gt;" in written
    assert "12 &lt; 13 GB" in written


def test_settings_and_choices_are_told(written: str) -> None:
    assert "&quot;size&quot;: 3" in written
    assert "&quot;l2&quot;: 3.0" in written


def test_a_partial_failure_is_told_under_the_table(
    contender: MakeContender, run: Callable[..., Run], dataset: Dataset, tmp_path: Path
) -> None:
    made = contender("half")
    journal = Journal(DataFacts.of(dataset))
    journal.add(run(made))
    journal.add(failed_run(made, 1, "the loss is nan"))
    path = tmp_path / "report.html"
    write_report(path, summarize([made], journal), journal.data)
    assert "A fit failed. half: the loss is nan" in path.read_text(encoding="utf-8")


def test_a_comparison_without_epochs_has_no_curves_and_one_without_runs_has_no_plots(
    contender: MakeContender, run: Callable[..., Run], dataset: Dataset, tmp_path: Path
) -> None:
    made = contender("ease")
    journal = Journal(DataFacts.of(dataset))
    journal.add(run(made))
    path = tmp_path / "report.html"
    write_report(path, summarize([made], journal), journal.data)
    text = path.read_text(encoding="utf-8")
    assert "Learning curves" not in text
    assert "Annealing" not in text
    assert "Accuracy and time" in text
    write_report(path, [], journal.data)
    assert "<svg" not in path.read_text(encoding="utf-8")


def test_a_model_made_of_several_shows_the_curves_of_each(
    contender: MakeContender, run: Callable[..., Run], dataset: Dataset, tmp_path: Path
) -> None:
    made = contender("hybrid", epochs=4, parents=["cdae", "multvae"])
    journal = Journal(DataFacts.of(dataset), tmp_path / "compare.json")
    journal.add(run(made))
    journal.write([])
    again = Journal.open(dataset, tmp_path / "compare.json")
    assert [len(curve) for curve in again.runs[0].parent_curves.values()] == [4, 4]
    write_report(tmp_path / "report.html", summarize([made], again), again.data)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    for part in ("Learning curves", "Annealing"):
        assert f">{part}<" in text
    # In the learning curves, beta and the KL term.
    assert text.count(">hybrid: cdae</text>") == text.count(">hybrid: multvae</text>") == 3


def test_models_of_ratings_get_their_own_columns_and_curves(
    contender: MakeContender, run: Callable[..., Run], dataset: Dataset, tmp_path: Path
) -> None:
    made = contender("autorec", epochs=3)
    measured = run(made)
    curve = [replace(report, valid={"rmse": 1 / report.epoch}) for report in measured.curve]
    test = {"rmse": 0.8412, "mae": 0.66, "ratings": 1000, "strays": 3}
    journal = Journal(DataFacts.of(dataset))
    journal.add(measured.model_copy(update={"test": test, "curve": tuple(curve)}))
    path = tmp_path / "report.html"
    write_report(path, summarize([made], journal), journal.data)
    text = path.read_text(encoding="utf-8")
    assert "validation RMSE" in text
    assert "Accuracy by history length" not in text
    assert "0.8412" in text


def test_a_split_of_the_same_users_explains_its_columns(
    contender: MakeContender, run: Callable[..., Run], dataset: Dataset, tmp_path: Path
) -> None:
    made = contender("ease")
    weak = replace(dataset, split=replace(dataset.split, protocol="weak"))
    journal = Journal(DataFacts.of(weak))
    journal.add(run(made))
    path = tmp_path / "report.html"
    write_report(path, summarize([made], journal), journal.data)
    text = path.read_text(encoding="utf-8")
    assert ">recall_all@20<" in text
    assert "recall_all divides hits by all targets" in text
