from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from training.comparison.contender import Contender
from training.comparison.journal import DataFacts, Journal
from training.comparison.run import Run
from training.data.datasets import Dataset
from training.errors import BadInputError

MakeContender = Callable[..., Contender]


def test_what_is_written_is_read_again(
    contender: MakeContender, run: Callable[..., Run], dataset: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "deep" / "compare.json"
    journal = Journal.open(dataset, path)
    journal.add(run(contender("a", epochs=2)))
    journal.write([{"model": "a"}])
    again = Journal.open(dataset, path)
    assert again.runs == journal.runs
    assert again.data == DataFacts.of(dataset)
    assert [path.name for path in path.parent.iterdir()] == ["compare.json"]


def test_runs_on_other_data_are_not_mixed_with_these(
    contender: MakeContender, run: Callable[..., Run], dataset: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "compare.json"
    journal = Journal.open(dataset, path)
    journal.add(run(contender()))
    journal.write([])
    with pytest.raises(BadInputError, match=r"other data or another split \(planted\)"):
        Journal.open(replace(dataset, fingerprint="other"), path)


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"data": 3, "runs": []}', "\x00"])
def test_a_file_of_something_else_is_refused_and_left_alone(
    dataset: Dataset, tmp_path: Path, content: str
) -> None:
    path = tmp_path / "notes.json"
    path.write_text(content)
    with pytest.raises(BadInputError, match="is no record of a comparison"):
        Journal.open(dataset, path)
    assert path.read_text() == content


def test_without_a_path_nothing_is_written(dataset: Dataset, tmp_path: Path) -> None:
    journal = Journal.open(dataset, None)
    journal.write([])
    assert list(tmp_path.iterdir()) == []


def test_users_without_a_target_are_counted_apart(dataset: Dataset) -> None:
    facts = DataFacts.of(dataset)
    assert facts.test_users + facts.test_users_without_target == 30
    assert facts.train_users == 150
    assert facts.train_interactions == dataset.split.train.nnz
