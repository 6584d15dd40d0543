"""What is kept of one fit."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from training import memory
from training.baselines import Popularity
from training.comparison.contender import Contender, Fitted, RatingPredictor
from training.comparison.run import Run, failed_run, measured_run
from training.data.datasets import Dataset
from training.data.split import Split
from training.evaluate import evaluate, evaluate_by_history_length
from training.loop import Watcher
from training.rating_metrics import RatingMetrics

MakeContender = Callable[..., Contender]
Measure = Callable[..., Run]


def test_a_run_has_the_figures_of_the_fitted_ranker(
    contender: MakeContender, run: Measure, dataset: Dataset
) -> None:
    measured = run(contender("popular", epochs=2), 1)
    split = dataset.split
    ranker = Popularity(split.train)
    assert measured.valid == evaluate(ranker, split.valid).to_dict()
    bands = evaluate_by_history_length(ranker, split.test)
    assert measured.test == bands.pop("all").to_dict()
    assert measured.test_by_history == {name: band.to_dict() for name, band in bands.items()}
    assert 0 < measured.beyond["coverage@20"] <= 1
    assert (measured.model, measured.seed, measured.seconds) == ("popular", 1, 2.0)
    assert (measured.epochs, measured.best_epoch) == (2, 2)
    assert measured.users_per_second == 150 * 2 / 4.0
    assert measured.facts == {"l2": 3.0}
    assert measured.peak_memory_bytes > 0


def test_without_epochs_the_speed_is_that_of_the_whole_fit(
    contender: MakeContender, run: Measure
) -> None:
    assert run(contender(seconds=3.0)).users_per_second == 50


def test_lists_of_users_without_a_target_are_not_described(
    contender: MakeContender, dataset: Dataset, planted_split: Split
) -> None:
    """They are left out of the averages, and of coverage as well."""
    target = planted_split.test.target.toarray()
    target[1:] = 0
    lonely = replace(planted_split.test, target=type(planted_split.train)(target))
    lonely_data = replace(dataset, split=replace(planted_split, test=lonely))
    measured = measured_run(contender(), 0, lonely_data, _Silent())
    assert measured.test["users"] == 1
    assert measured.test["users_without_target"] == 29
    assert measured.beyond["coverage@20"] == pytest.approx(20 / 45)


def test_an_interrupted_fit_is_no_run(contender: MakeContender, run: Measure) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(contender(interrupted=True))


def test_a_run_goes_through_json_unchanged(contender: MakeContender, run: Measure) -> None:
    measured = run(contender(epochs=3, config={"parents": [{"latent_dim": 4}], "rate": 0.1}))
    assert Run.model_validate_json(measured.model_dump_json()) == measured


def test_a_run_knows_whether_a_fit_would_repeat_it(contender: MakeContender, run: Measure) -> None:
    measured = run(contender("one"), 1)
    assert measured.repeats(contender("one"), 1)
    assert not measured.repeats(contender("one"), 0)
    assert not measured.repeats(contender("two"), 1)
    assert not measured.repeats(contender("one", config={"size": 4}), 1)
    assert not failed_run(contender("two"), 1, "no room").repeats(contender("one"), 1)


def test_the_peak_of_memory_is_that_of_the_run(contender: MakeContender, run: Measure) -> None:
    """A large block that was let go before the run began is none of the run's."""
    if not memory.forget_peak():
        pytest.skip("needs Linux: /proc/self/clear_refs")
    size = 300 * 2**20
    block = np.ones(size, dtype=np.uint8)
    held = memory.peak_bytes()
    del block
    measured = run(contender())
    assert measured.peak_is_of_run
    assert measured.peak_memory_bytes < held - size / 2


def test_where_the_system_keeps_one_peak_the_run_says_so(
    contender: MakeContender, run: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "CLEAR_REFS", memory.CLEAR_REFS / "absent")
    assert not run(contender()).peak_is_of_run


def test_predicted_ratings_are_measured_as_the_model_does(dataset: Dataset) -> None:
    valid, test = RatingMetrics(0.9, 0.7, 10, 1), RatingMetrics(0.8, 0.6, 11, 2)
    folded_in = RatingMetrics(0.85, 0.65, 11, 2)
    parts = {"valid": valid, "test": test, "test_folded_in": folded_in}

    def fit(_dataset: Dataset, _seed: int, _watcher: Watcher) -> Fitted:
        return Fitted(RatingPredictor(lambda: parts), 1.0)

    rating = Contender("rating", {}, {}, has_chance=True, reads_ratings=True, fit=fit)
    measured = measured_run(rating, 0, dataset, _Silent())
    assert measured.valid == valid.to_dict()
    assert (measured.test["rmse"], measured.test["rmse_folded_in"]) == (0.8, 0.85)
    assert measured.beyond == {}


class _Silent:
    def on_step(self, users: float) -> None:
        pass

    def on_epoch(self, report: object, best_epoch: int) -> None:
        pass
