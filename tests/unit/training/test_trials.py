"""One run of a search: complete, cut off, diverged."""

import pytest
from optuna.trial import TrialState

from training.config import TrainingConfig
from training.data.datasets import Dataset
from training.state import EpochReport
from training.trials import run_trial

SMALL = {"model": "multvae", "latent_dim": 4, "hidden_dims": [8], "epochs": 4, "threads": 1}


class Silent:
    def on_step(self, users: float) -> None: ...

    def on_epoch(self, report: EpochReport, best_epoch: int) -> None: ...


class Impatient(Silent):
    """Presses Ctrl-C when an epoch is done."""

    def on_epoch(self, report: EpochReport, best_epoch: int) -> None:
        del report, best_epoch
        raise KeyboardInterrupt


def never(epoch: int, value: float) -> bool:
    del epoch, value
    return False


def test_a_complete_run_is_worth_its_best_epoch(planted: Dataset) -> None:
    ended = run_trial(TrainingConfig.of(SMALL), planted, "ndcg@100", Silent(), never)
    assert ended.state == TrialState.COMPLETE
    assert sorted(ended.curve) == [1, 2, 3, 4]
    assert ended.value == max(ended.curve.values())
    assert ended.facts["epochs"] == 4
    assert ended.facts["seconds"] > 0
    assert ended.curve[ended.facts["best_epoch"]] == ended.value


def test_a_run_that_falls_behind_ends_there(planted: Dataset) -> None:
    def after_two(epoch: int, value: float) -> bool:
        assert 0 < value < 1
        return epoch == 2

    ended = run_trial(TrainingConfig.of(SMALL), planted, "ndcg@100", Silent(), after_two)
    assert ended.state == TrialState.PRUNED
    assert ended.value == ended.curve[2]
    assert ended.facts["epochs"] == 2
    assert ended.result is None


def test_a_run_that_diverges_has_no_value_and_a_reason(planted: Dataset) -> None:
    config = TrainingConfig.of({**SMALL, "learning_rate": 1e30})
    ended = run_trial(config, planted, "ndcg@100", Silent(), never)
    assert ended.state == TrialState.FAIL
    assert ended.value is None
    assert "the loss is" in ended.facts["reason"]


def test_a_model_without_epochs_is_measured_when_it_is_fitted(planted: Dataset) -> None:
    config = TrainingConfig.of({"model": "ease", "l2": 10.0})
    ended = run_trial(config, planted, "ndcg@100", Silent(), never)
    assert ended.state == TrialState.COMPLETE
    assert ended.curve == {}
    assert 0.3 < (ended.value or 0) < 1


@pytest.mark.parametrize("model", [SMALL, {**SMALL, "epochs": 1}])
def test_ctrl_c_is_no_result(model: dict[str, object], planted: Dataset) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_trial(TrainingConfig.of(model), planted, "ndcg@100", Impatient(), never)
