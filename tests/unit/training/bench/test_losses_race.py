"""The losses bench: turns, ratios, a process of its own for every run."""

import io
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import orjson
import polars as pl
import pytest
from rich.console import Console

from training.bench import losses_run
from training.bench.interaction_log import LogShape
from training.bench.losses_race import (
    CONTESTANTS,
    Contestant,
    LossesPlan,
    LossesRun,
    large_plan,
    race_losses,
    run_process,
    standings,
)
from training.bench.losses_report import QUICK_LARGE, QUICK_SHAPE, run_losses
from training.bench.losses_run import config_of, run_once, split_of
from training.errors import BadInputError

SHAPE = LogShape(users=300, items=400, mean_length=10, clusters=4)
PLAN = LossesPlan(None, SHAPE, held_out=50, hidden=8, latent=4, epochs=2, batch_size=50)


def fake_run(contestant: Contestant, speed: float, ndcg: float) -> LossesRun:
    figures = {"ndcg@100": ndcg, "recall@20": ndcg, "recall@50": ndcg}
    return LossesRun(contestant, 300, 400, 3_000, speed, 1.0, 9, 5, (ndcg,), figures, figures)


def fake_start(plan: LossesPlan, contestant: Contestant) -> LossesRun:
    del plan
    return fake_run(contestant, {"exact": 10.0}.get(contestant, 35.0), 0.2)


def test_every_contestant_runs_once_and_stands_beside_the_exact_loss() -> None:
    seen: list[LossesRun] = []
    runs = race_losses(PLAN, seen.append, fake_start)
    assert [run.contestant for run in runs] == list(CONTESTANTS)
    assert seen == runs
    assert [each.speed_ratio for each in standings(runs)] == [1, 3.5, 3.5]
    slow, worse = fake_run("exact", 10, 0.2), fake_run("sampled", 20, 0.19)
    assert standings([slow, worse])[1].quality_ratio == pytest.approx(0.95)


def test_contestants_differ_in_the_loss_and_the_rows_alone() -> None:
    exact, dense, sampled = (config_of(PLAN, contestant) for contestant in CONTESTANTS)
    assert (exact.negatives, dense.negatives, sampled.negatives) == (0, 8_000, 8_000)
    assert dense == sampled.model_copy(update={"row_updates": "dense"})
    assert exact == sampled.model_copy(update={"negatives": 0})


def test_a_run_tells_speed_memory_and_accuracy_beside_popularity() -> None:
    run = run_once(PLAN, "sampled")
    assert (run.users, run.items) == (300, 400)
    assert len(run.curve) == 2
    assert run.valid["ndcg@100"] == max(run.curve)
    assert run.users_per_second == pytest.approx(300 / (run.train_s / 2), rel=0.9)
    assert run.peak_bytes >= run.baseline_bytes > 0
    assert run.popularity["ndcg@100"] > 0


def test_a_given_log_is_read_and_split(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    users = [user for user in range(40) for _ in range(10)]
    items = [(user + 3 * each) % 25 for user in range(40) for each in range(10)]
    pl.DataFrame({"user_id": users, "item_id": items}).write_parquet(path)
    assert split_of(replace(PLAN, log=str(path))).train.shape == (32, 25)


def test_the_process_reads_a_plan_and_prints_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = orjson.dumps({"plan": PLAN, "contestant": "exact"})
    stdout = io.StringIO()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(fields)))
    monkeypatch.setattr(sys, "stdout", stdout)
    losses_run.main()
    assert orjson.loads(stdout.getvalue())["contestant"] == "exact"


def test_a_run_in_a_process_of_its_own_gives_the_figures_of_one_here() -> None:
    there, here = run_process(PLAN, "sampled"), run_once(PLAN, "sampled")
    assert there.curve == pytest.approx(here.curve, rel=1e-6)


def test_a_run_that_fails_is_told_by_its_last_words() -> None:
    with pytest.raises(BadInputError, match=r"'exact' failed: .*no-such-log"):
        run_process(replace(PLAN, log="no-such-log"), "exact")


def test_the_record_has_both_logs_and_the_tables_tell_them() -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=100)
    record = run_losses(PLAN, SHAPE, console, quick=False, start=fake_start)
    assert [each["run"]["contestant"] for each in record["runs"]] == list(CONTESTANTS)
    assert record["large"]["contestant"] == "sampled"
    assert record["large_plan"]["shape"] == record["plan"]["shape"]
    told = stream.getvalue()
    assert "sampled, all rows: 35 users/s" in told
    assert "popularity" in told
    assert "3.50" in told


def test_a_quick_look_takes_small_logs() -> None:
    plans: list[LossesPlan] = []

    def start(plan: LossesPlan, contestant: Contestant) -> LossesRun:
        plans.append(plan)
        return fake_start(plan, contestant)

    run_losses(PLAN, LogShape(), Console(file=io.StringIO()), quick=True, start=start)
    assert [plan.shape for plan in plans] == [QUICK_SHAPE] * 3 + [QUICK_LARGE]
    assert plans[-1] == large_plan(plans[0], QUICK_LARGE)
