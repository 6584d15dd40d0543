"""A search: starts from the preset, goes on where it stopped, survives what goes wrong."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from training import tune as module
from training.config import TrainingConfig
from training.data.datasets import Dataset
from training.errors import BadInputError
from training.fitting import fit
from training.search_spaces import Choice, Real, Space, Whole
from training.state import EpochReport
from training.study import Outcome, open_study
from training.tune import Search, Tuning, search_for, tune

GIVEN: dict[str, Any] = {"epochs": 3, "threads": 1, "batch_size": 50, "hidden_dims": [8]}
SPACE: Space = {"latent_dim": Whole(2, 16), "dropout": Real(0.0, 0.8), "seed": Choice((0, 1))}


class Silent:
    def on_step(self, users: float) -> None: ...

    def on_epoch(self, report: EpochReport, best_epoch: int) -> None: ...


class CtrlC(Silent):
    """Presses Ctrl-C in the first epoch of the run of this number."""

    def __init__(self, run: int) -> None:
        self._left = run

    def on_epoch(self, report: EpochReport, best_epoch: int) -> None:
        del best_epoch
        if report.epoch == 1:
            self._left -= 1
            if self._left < 0:
                raise KeyboardInterrupt


def a_search(folder: Path, num_trials: int, **changes: Any) -> Search:  # noqa: ANN401 - fields
    settings = {"model": "multvae", **GIVEN}
    plain = Search(settings, SPACE, folder / "study.jsonl", num_trials)
    return dataclasses.replace(plain, **changes)


def run(search: Search, dataset: Dataset, watcher: Silent | None = None) -> Tuning:
    return tune(search, dataset, watcher or Silent(), lambda _outcome, _best: None)


def essence(tuning: Tuning) -> list[tuple[Any, ...]]:
    return [(o.number, o.state, o.value, dict(o.settings)) for o in tuning.outcomes]


@pytest.fixture(scope="session")
def uninterrupted(planted: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Tuning:
    return run(a_search(tmp_path_factory.mktemp("whole"), 4), planted)


def test_the_first_trial_is_what_training_gives(uninterrupted: Tuning, planted: Dataset) -> None:
    first = uninterrupted.outcomes[0]
    config = TrainingConfig.of({"model": "multvae", **GIVEN})
    result = fit(config, planted, Silent())
    assert first.value == result.reports[result.best_epoch - 1].valid["ndcg@100"]
    assert first.settings == {}


def test_other_trials_take_settings_from_the_space(uninterrupted: Tuning) -> None:
    drawn = [outcome.settings for outcome in uninterrupted.outcomes[1:]]
    assert len({tuple(settings.items()) for settings in drawn}) == 3
    for settings in drawn:
        assert set(settings) == set(SPACE)
        assert 2 <= settings["latent_dim"] <= 16


def test_a_search_in_two_parts_is_the_search_in_one(
    uninterrupted: Tuning, planted: Dataset, tmp_path: Path
) -> None:
    assert essence(run(a_search(tmp_path, 2), planted)) == essence(uninterrupted)[:2]
    assert essence(run(a_search(tmp_path, 4), planted)) == essence(uninterrupted)
    assert essence(run(a_search(tmp_path, 3), planted)) == essence(uninterrupted)


@pytest.mark.parametrize("at", [0, 2])
def test_ctrl_c_keeps_what_is_finished_and_the_next_start_goes_on(
    uninterrupted: Tuning, planted: Dataset, tmp_path: Path, at: int
) -> None:
    stopped = run(a_search(tmp_path, 4), planted, CtrlC(at))
    assert stopped.interrupted
    assert essence(stopped) == essence(uninterrupted)[:at]
    assert essence(run(a_search(tmp_path, 4), planted)) == essence(uninterrupted)


def test_a_killed_search_goes_on_as_well(
    uninterrupted: Tuning, planted: Dataset, tmp_path: Path
) -> None:
    search = a_search(tmp_path, 4)
    run(dataclasses.replace(search, num_trials=2), planted)
    study = open_study(
        search.storage, planted.fingerprint, search.settings, search.space, "maximize"
    )
    study.ask()  # kill -9 leaves a trial that runs for ever
    assert essence(run(search, planted)) == essence(uninterrupted)


def test_a_trial_that_diverges_is_not_the_end(planted: Dataset, tmp_path: Path) -> None:
    told: list[Outcome] = []
    search = a_search(tmp_path, 3, space={"learning_rate": Real(1e29, 1e30)})
    tuning = tune(search, planted, Silent(), lambda outcome, _best: told.append(outcome))
    assert [outcome.state for outcome in told] == ["complete", "failed", "failed"]
    assert "the loss is" in told[1].facts["reason"]
    assert search.best_of(tuning.outcomes) == told[0]


def test_a_preset_that_diverges_is_not_the_end_either(planted: Dataset, tmp_path: Path) -> None:
    settings = {"model": "multvae", **GIVEN, "learning_rate": 1e30}
    search = a_search(tmp_path, 2, settings=settings, space={"learning_rate": Real(1e-4, 1e-2)})
    tuning = run(search, planted)
    assert [outcome.state for outcome in tuning.outcomes] == ["failed", "complete"]
    best = search.best_of(tuning.outcomes)
    assert best is not None
    assert best.number == 1


def test_a_run_that_falls_behind_the_median_is_stopped(
    planted: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "UNPRUNED_TRIALS", 1)
    settings = {"model": "multvae", **GIVEN, "batch_size": 10, "learning_rate": 3e-3}
    space: Space = {"learning_rate": Real(1e-9, 1e-8, log=True)}
    search = a_search(tmp_path, 3, settings=settings, space=space)
    outcomes = run(search, planted).outcomes
    assert [outcome.state for outcome in outcomes] == ["complete", "pruned", "pruned"]
    assert [outcome.facts["epochs"] for outcome in outcomes] == [3, 2, 2]  # one to warm up


def test_no_trial_starts_when_time_is_up(planted: Dataset, tmp_path: Path) -> None:
    times: Iterator[float] = iter([0.0, 5.0, 9.0, 10.0])
    search = a_search(tmp_path, 9, timeout_s=10, clock=lambda: next(times))
    tuning = run(search, planted)
    assert len(tuning.outcomes) == 2
    assert not tuning.interrupted


def test_settings_that_validation_chooses_are_entered_as_it_chose(
    planted: Dataset, tmp_path: Path
) -> None:
    search = search_for("edlae", {}, planted.split.train.nnz, tmp_path / "study.jsonl", 2)
    tuning = run(search, planted)
    assert [outcome.state for outcome in tuning.outcomes] == ["complete", "complete"]
    study = open_study(
        search.storage, planted.fingerprint, search.settings, search.space, search.direction
    )
    preset = study.trials[0].params
    assert preset["l2"] > 0
    assert 0 < preset["dropout"] < 1


def test_what_is_given_stays_and_the_start_is_among_the_choices(tmp_path: Path) -> None:
    given = {"architecture": {"latent_dim": 9}, "dropout": 0.4}
    search = search_for("multvae", given, 10_000, tmp_path / "s", 3)
    assert search.settings["latent_dim"] == 9
    assert {"latent_dim", "dropout"}.isdisjoint(search.space)
    hybrid = search_for("hybrid", {}, 10_000, tmp_path / "s", 3)
    (parents,) = hybrid.space.values()
    assert isinstance(parents, Choice)
    everything = {"learning_rate": 1e-3, "batch_size": 100}
    with pytest.raises(
        BadInputError, match=r"nothing to tune: all that tune would choose for ease is given \(l2\)"
    ):
        search_for("ease", everything | {"l2": 3.0}, 10_000, tmp_path / "s", 3)


def test_a_choice_that_lacks_the_start_gets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spaces = {"multvae": {"hidden_dims": Choice(([8], [16]))}}
    monkeypatch.setattr(module, "SPACES", spaces)
    search = search_for("multvae", {}, 10_000, tmp_path / "s", 3)
    assert search.space["hidden_dims"] == Choice(([8], [16], [600]))


@pytest.mark.parametrize("model", ["multvea", "popularity"])
def test_a_model_without_ranges_is_refused(model: str, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=rf"no ranges for '{model}'; it does for: multvae"):
        search_for(model, {}, 10_000, tmp_path / "s", 3)


def test_the_best_is_the_least_error_or_the_best_ranking() -> None:
    outcomes = [
        Outcome(0, "complete", 0.5, {}, {}),
        Outcome(1, "pruned", 0.9, {}, {}),
        Outcome(2, "complete", 0.7, {}, {}),
        Outcome(3, "complete", 0.7, {}, {}),
        Outcome(4, "failed", None, {}, {}),
    ]
    ranking = Search({"model": "multvae"}, SPACE, Path("s"), 1)
    rating = Search({"model": "autorec-item"}, SPACE, Path("s"), 1)
    assert ranking.metric == "ndcg@100"
    assert rating.metric == "rmse"
    assert ranking.best_of(outcomes) == outcomes[2]
    assert rating.best_of(outcomes) == outcomes[0]
    assert ranking.best_of(outcomes[1:2]) is None
