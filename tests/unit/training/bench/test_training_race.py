"""The train bench: turns, summary, and two loops that learn the same."""

import io
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import orjson
import polars as pl
import pytest

from training.bench import training_run
from training.bench.synthetic import Shape
from training.bench.training_race import (
    Contestant,
    TrainPlan,
    TrainRun,
    race_training,
    read_run,
    run_process,
    summarize,
)
from training.bench.training_run import run_once, training_rows
from training.errors import BadInputError

PLAN = TrainPlan(Shape(300, 16, 8), users=120, epochs=3, repeats=2, batch_size=20)


def fake_run(contestant: Contestant, seed: int, speed: float, *losses: float) -> TrainRun:
    return TrainRun(contestant, seed, speed, int(speed), 0, losses)


def test_contestants_take_turns_and_every_repeat_has_a_seed() -> None:
    seen: list[TrainRun] = []

    def start(_: TrainPlan, contestant: Contestant, seed: int) -> TrainRun:
        return fake_run(contestant, seed, 1.0, 1.0)

    runs = race_training(PLAN, seen.append, start)
    order = [(run.contestant, run.seed) for run in runs]
    assert order == [("foldin", 0), ("dense", 0), ("dense", 1), ("foldin", 1)]
    assert seen == runs


def test_medians_ratio_and_noise_are_told() -> None:
    ours = [fake_run("foldin", seed, speed, 10 + seed, 8) for seed, speed in enumerate((4, 6, 9))]
    theirs = [fake_run("dense", seed, speed, 10 + seed, 8) for seed, speed in enumerate((3, 2, 9))]
    summary = summarize([*ours, *theirs])
    assert summary.users_per_second == {"foldin": 6, "dense": 3}
    assert summary.speedup == 2
    assert list(summary.losses["dense"]) == [11, 8]
    assert summary.loss_gap == 0
    assert summary.equal_losses
    assert summary.loss_fall == pytest.approx(3 / 11)
    # Three seeds, a standard deviation of 1 in the first epoch on both sides.
    assert summary.loss_noise == pytest.approx(3 * np.sqrt(2 / 3) / 11)


def test_a_curve_outside_the_noise_is_not_equal() -> None:
    ours = [fake_run("foldin", seed, 1, 10, 9 + seed / 100) for seed in range(3)]
    theirs = [fake_run("dense", seed, 1, 10, 8 + seed / 100) for seed in range(3)]
    assert not summarize([*ours, *theirs]).equal_losses
    assert not summarize([ours[0], theirs[0]]).equal_losses


def test_both_loops_learn_the_same_from_the_same_start() -> None:
    pairs = [[run_once(PLAN, name, seed) for name in ("foldin", "dense")] for seed in range(3)]
    summary = summarize([run for pair in pairs for run in pair])
    assert summary.equal_losses
    assert summary.loss_fall > 0
    assert summary.loss_gap < summary.loss_fall
    assert min(summary.peak_bytes.values()) > 0


def test_a_run_is_a_process_that_reads_and_writes_json() -> None:
    run = run_process(PLAN, "dense", 1)
    assert (run.contestant, run.seed, len(run.losses)) == ("dense", 1, 3)
    assert run.peak_bytes >= run.baseline_bytes


def test_the_process_speaks_on_the_last_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    request = {"contestant": "foldin", "seed": 0, "plan": PLAN}
    content = io.BytesIO(orjson.dumps(request))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=content))
    training_run.main()
    assert read_run(capsys.readouterr().out.encode()).contestant == "foldin"


def test_a_process_that_fails_is_one_line() -> None:
    with pytest.raises(BadInputError, match=r"the dense run failed: .*gone\.csv"):
        run_process(replace(PLAN, log="gone.csv"), "dense", 1)


def test_rows_come_from_a_log_and_may_be_cut(tmp_path: Path) -> None:
    rows = [{"user_id": u, "item_id": (u + 3 * n) % 40} for u in range(60) for n in range(9)]
    pl.DataFrame(rows).write_parquet(tmp_path / "log.parquet")
    log = str(tmp_path / "log.parquet")
    shape = Shape(300, 16, 8)
    assert training_rows(TrainPlan(shape, users=10, log=log)).shape[0] == 10
    assert training_rows(TrainPlan(shape, users=0, log=log)).shape[0] == 48
