"""The weight of the KL term over a run: every schedule, and after a resume."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.config import TrainingConfig
from training.data.split import Split
from training.errors import BadInputError
from training.loop import Resumable, train
from training.schedule import beta_at
from training.state import EpochReport
from training.task import RankingTask


class Listener:
    """Keeps the beta of every epoch; ends the run after some of them, as Ctrl-C does."""

    def __init__(self, interrupt_after: int | None = None) -> None:
        self.betas: list[float] = []
        self._interrupt_after = interrupt_after

    def on_step(self, users: float) -> None:
        del users
        if self._interrupt_after == len(self.betas):
            raise KeyboardInterrupt

    def on_epoch(self, report: EpochReport, best_epoch: int) -> None:
        del best_epoch
        self.betas.append(report.beta)


def config(**settings: object) -> TrainingConfig:
    return TrainingConfig.of(
        {"model": "betavae", "latent_dim": 4, "hidden_dims": [8], "threads": 1} | settings
    )


def test_a_constant_beta_is_its_cap_from_the_first_step() -> None:
    settings = config(beta_schedule="constant", beta_cap=0.4)
    assert {beta_at(step, 100, settings) for step in (1, 50, 100)} == {0.4}


def test_a_cyclical_beta_climbs_anew_in_every_cycle() -> None:
    settings = config(beta_schedule="cyclical", beta_cap=1.0, cycles=4, anneal_fraction=0.5)
    one_cycle = [0.2, 0.4, 0.6, 0.8, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    found = [beta_at(step, 40, settings) for step in range(1, 41)]
    assert found == pytest.approx(one_cycle * 4)


def test_cycles_need_not_end_on_a_step() -> None:
    settings = config(beta_schedule="cyclical", beta_cap=1.0, cycles=3, anneal_fraction=1.0)
    found = [beta_at(step, 10, settings) for step in range(1, 11)]
    assert found == pytest.approx([0.3, 0.6, 0.9, 0.2, 0.5, 0.8, 0.1, 0.4, 0.7, 1.0])


@given(st.integers(1, 5000), st.integers(1, 9), st.floats(0, 1), st.data())
def test_a_cyclical_beta_stays_in_bounds_and_ends_at_its_cap(
    total_steps: int, cycles: int, anneal_fraction: float, data: st.DataObject
) -> None:
    settings = config(beta_schedule="cyclical", cycles=cycles, anneal_fraction=anneal_fraction)
    step = data.draw(st.integers(1, total_steps))
    assert 0 < beta_at(step, total_steps, settings) <= settings.beta_cap
    assert beta_at(total_steps, total_steps, settings) == pytest.approx(settings.beta_cap)


@given(st.integers(1, 5000), st.floats(0, 1), st.data())
def test_one_cycle_is_the_line(
    total_steps: int, anneal_fraction: float, data: st.DataObject
) -> None:
    step = data.draw(st.integers(1, total_steps))
    line = config(anneal_fraction=anneal_fraction)
    cycle = line.model_copy(update={"beta_schedule": "cyclical", "cycles": 1})
    assert beta_at(step, total_steps, cycle) == beta_at(step, total_steps, line)


@pytest.mark.parametrize("schedule", ["linear", "constant", "cyclical"])
def test_beta_follows_its_schedule_after_a_resume_too(
    schedule: str, planted_split: Split, tmp_path: Path
) -> None:
    settings = config(beta_schedule=schedule, cycles=2, batch_size=40, epochs=6)
    steps = math.ceil(planted_split.train.shape[0] / 40)
    expected = [beta_at(steps * epoch, 6 * steps, settings) for epoch in range(1, 7)]
    task, state = RankingTask(planted_split), Resumable(tmp_path, "run", resume=False)
    first, rest = Listener(interrupt_after=1), Listener()
    train(settings, task, first, state)
    train(settings, task, rest, replace(state, resume=True))
    assert len(first.betas) == 1
    assert [*first.betas, *rest.betas] == expected


@pytest.mark.parametrize(
    ("setting", "value"), [("beta_schedule", "square"), ("cycles", 0), ("beta_cap", -1)]
)
def test_a_wrong_setting_is_named(setting: str, value: object) -> None:
    with pytest.raises(BadInputError, match=setting):
        config(**{setting: value})
