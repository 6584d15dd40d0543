"""A comparison from its plan to its journal."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from training.comparison.compare import Plan, run_plan
from training.comparison.contender import Contender
from training.comparison.journal import Journal
from training.data.datasets import Dataset
from training.errors import BadInputError, TrainingDivergedError

MakeContender = Callable[..., Contender]


def compare(
    contenders: list[Contender],
    dataset: Dataset,
    listener: Any,  # noqa: ANN401 - the Listener of conftest.py, which cannot be imported
    path: Path | None = None,
    seeds: int = 2,
) -> tuple[bool, Journal]:
    journal = Journal.open(dataset, path)
    plan = Plan(contenders, seeds, journal)
    return run_plan(plan, dataset, journal, listener), journal


def test_every_contender_is_fitted_under_every_seed_and_a_certain_one_once(
    contender: MakeContender,
    dataset: Dataset,
    listener: Any,  # noqa: ANN401 - as above
) -> None:
    certain = contender("certain", has_chance=False)
    complete, journal = compare([certain, contender("b")], dataset, listener)
    assert complete
    assert listener.started == [("certain", 0), ("b", 0), ("b", 1)]
    assert listener.runs == journal.runs


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (BadInputError("needs 12 GB"), "needs 12 GB"),
        (TrainingDivergedError("the loss is nan"), "the loss is nan"),
        (MemoryError(), "MemoryError"),
        (RuntimeError("not enough memory: you tried\nmore lines"), "not enough memory: you tried"),
    ],
)
def test_a_contender_that_fails_is_a_run_with_the_reason_and_the_others_go_on(
    contender: MakeContender,
    dataset: Dataset,
    listener: Any,  # noqa: ANN401 - as above
    error: Exception,
    reason: str,
) -> None:
    complete, journal = compare(
        [contender("bad", error=error), contender("good")], dataset, listener, seeds=1
    )
    assert complete
    assert [(run.model, run.failed) for run in journal.runs] == [("bad", reason), ("good", None)]


def test_a_fault_of_ours_is_not_hidden(
    contender: MakeContender,
    dataset: Dataset,
    listener: Any,  # noqa: ANN401 - as above
) -> None:
    with pytest.raises(KeyError):
        compare([contender(error=KeyError("bug"))], dataset, listener)


@pytest.mark.parametrize("how", [{"error": KeyboardInterrupt()}, {"interrupted": True}])
def test_after_ctrl_c_what_is_done_is_in_the_file_and_the_same_command_goes_on(
    contender: MakeContender,
    dataset: Dataset,
    listener: Any,  # noqa: ANN401 - as above
    tmp_path: Path,
    how: dict[str, Any],
) -> None:
    path = tmp_path / "records" / "compare.json"
    complete, _ = compare([contender("a"), contender("b", **how)], dataset, listener, path)
    assert not complete
    kept = json.loads(path.read_text())
    assert [(run["model"], run["seed"]) for run in kept["runs"]] == [("a", 0), ("a", 1)]

    listener.started.clear()
    complete, journal = compare([contender("a"), contender("b")], dataset, listener, path)
    assert complete
    assert listener.started == [("b", 0), ("b", 1)]
    assert len(journal.runs) == 4
    assert len(json.loads(path.read_text())["runs"]) == 4


def test_more_seeds_and_failed_fits_are_made_up_for(
    contender: MakeContender,
    dataset: Dataset,
    listener: Any,  # noqa: ANN401 - as above
    tmp_path: Path,
) -> None:
    path = tmp_path / "compare.json"
    compare([contender("a"), contender("b", error=MemoryError())], dataset, listener, path, 1)
    listener.started.clear()
    _, journal = compare([contender("a"), contender("b")], dataset, listener, path, 2)
    assert listener.started == [("a", 1), ("b", 0), ("b", 1)]
    assert not any(run.failed for run in journal.runs)
    assert len(journal.runs) == 4


def test_other_settings_are_fitted_anew_and_replace_what_was_there(
    contender: MakeContender,
    dataset: Dataset,
    listener: Any,  # noqa: ANN401 - as above
    tmp_path: Path,
) -> None:
    path = tmp_path / "compare.json"
    compare([contender("a"), contender("b")], dataset, listener, path, 2)
    listener.started.clear()
    _, journal = compare([contender("a", config={"size": 4})], dataset, listener, path, 1)
    assert listener.started == [("a", 0)]
    assert [(run.model, run.seed, run.config["size"]) for run in journal.runs] == [
        ("b", 0, 3),
        ("b", 1, 3),
        ("a", 0, 4),
    ]
