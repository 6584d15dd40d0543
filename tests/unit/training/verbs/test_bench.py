"""``foldin bench`` as a user meets it: options in, tables and a record out."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from training import cli
from training.bench import runs
from training.bench.client import AsyncioClosedLoop
from training.bench.load import ClosedLoop
from training.bench.serving import OURS, ServePlan, ServeReport, ServeRow
from training.bench.serving_race import Tell
from training.bench.training_race import Contestant, TrainPlan, TrainRun, TrainSummary, summarize
from training.bench.wrk import Wrk

Foldin = Callable[..., int]
SMALL = ("--items", 300, "--hidden", 16, "--latent", 8, "--threads", 1)
ROW = ServeRow(OURS, "64 conn", 100.0, 1.0, 2.0, 0.1, 0, 0.6, 15.0, 0.1)


@pytest.fixture
def foldin(monkeypatch: pytest.MonkeyPatch) -> Foldin:
    """Run ``foldin ARGUMENTS`` in this process and give the exit code."""

    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["foldin", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return int(stop.value.code or 0)

    return run


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[ServePlan]:
    """Let nothing be started: plans of servers are noted, and their memory grows with them."""
    noted: list[ServePlan] = []

    def measure(
        plan: ServePlan, bodies: Sequence[bytes], driver: ClosedLoop, folder: Path, tell: Tell
    ) -> ServeReport:
        assert folder.is_dir()
        assert len(set(bodies)) == len(bodies)
        tell("a load begins")
        noted.append(plan)
        size = {OURS: 100 + 50 * plan.workers}
        return ServeReport(plan.workers, driver.name, (ROW,), {OURS: 1.0}, dict(size), (), None)

    monkeypatch.setattr(runs, "measure_serving", measure)
    monkeypatch.setattr(runs, "closed_loop", lambda: Wrk("wrk"))
    return noted


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[TrainPlan]:
    """Let nothing be trained: plans are noted."""
    noted: list[TrainPlan] = []

    def race(plan: TrainPlan, on_run: Callable[[TrainRun], None]) -> list[TrainRun]:
        noted.append(plan)
        names: tuple[Contestant, ...] = ("foldin", "dense")
        done = [TrainRun(name, plan.seed, 10.0, 5, 1, (2.0, 1.0)) for name in names]
        for run in done:
            on_run(run)
        return done

    monkeypatch.setattr(runs, "race_training", race)
    return noted


def test_decode_prints_tables_and_writes_the_record_with_the_environment(
    foldin: Foldin, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "records" / "decode.json"
    options = ("--quick", "--repeats", 1, "--history", 20, "--json", record)
    assert foldin("bench", "decode", *SMALL, *options) == 0
    printed = capsys.readouterr().out
    assert "identical lists" in printed
    written = json.loads(record.read_text())
    assert written["environment"]["cores"] >= 1
    assert written["decode"]["subject"]["items"] == 300
    assert written["decode"]["plan"]["threads"] == 1
    assert {row["batch"] for row in written["decode"]["rows"]} == {1, 8, 32, 128}
    exactness = written["decode"]["exactness"]
    assert {row["k"] for row in exactness} == {10, 20, 100}
    assert all(row["identical"] == 1 for row in exactness if row["mode"] != "ann")


def test_score_measures_a_bundle_that_is_there(
    foldin: Foldin, tmp_path: Path, write_bundle: Callable[..., Path]
) -> None:
    bundle = write_bundle(tmp_path / "models", 120)
    record = tmp_path / "score.json"
    options = ("--users", 128, "--history", 10, "--repeats", 1, "--threads", 1, "--json", record)
    assert foldin("bench", "score", bundle, *options) == 0
    written = json.loads(record.read_text())["score"]
    assert not written["subject"]["synthetic"]
    assert written["users"]["count"] == 128
    assert {"exact", "dense torch fp32"} <= {row["name"] for row in written["rows"]}


def test_a_model_without_a_dense_form_is_bad_input(
    foldin: Foldin,
    tmp_path: Path,
    write_bundle: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    bundle = write_bundle(tmp_path / "models", 120, "multdae")
    assert foldin("bench", "score", bundle, "--users", 128) == 2
    assert "no dense reference for MultDAE" in capsys.readouterr().err


def test_a_catalogue_smaller_than_the_lists_is_bad_input(
    foldin: Foldin,
    tmp_path: Path,
    write_bundle: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    bundle = write_bundle(tmp_path / "models", 60)
    assert foldin("bench", "decode", bundle) == 2
    assert "has 60 items, and lists of 100" in capsys.readouterr().err


def test_serve_runs_each_number_of_workers_and_compares_their_memory(
    foldin: Foldin,
    plans: list[ServePlan],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.settings.available_cores", lambda: 4)
    record, logs = tmp_path / "serve.json", tmp_path / "logs"
    options = ("--workers", "1,2", "--seconds", 2, "--json", record, "--log-dir", logs)
    assert foldin("bench", "serve", *SMALL[:6], *options) == 0
    assert [(plan.workers, plan.threads, plan.seconds) for plan in plans] == [(1, 3, 2), (2, 1, 2)]
    printed = capsys.readouterr().out
    assert "a load begins" in printed
    assert "PSS of 2 workers over that of 1: 1.33" in printed
    assert "wrk is not on PATH" not in printed
    written = json.loads(record.read_text())["serve"]
    assert written["pss_growth"]["2"] == pytest.approx(200 / 150)
    assert [report["workers"] for report in written["reports"]] == [1, 2]
    assert logs.is_dir()


def test_serve_says_when_it_drives_itself(
    foldin: Foldin,
    plans: list[ServePlan],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runs, "closed_loop", AsyncioClosedLoop)
    assert foldin("bench", "serve", *SMALL, "--quick", "--seconds", 3) == 0
    assert "wrk is not on PATH: our own client drives" in capsys.readouterr().out
    assert [(plan.threads, plan.seconds) for plan in plans] == [(1, 3)]


@pytest.mark.parametrize("workers", ["", "0", "one", "1,", "1,-2"])
def test_workers_are_numbers(
    foldin: Foldin, workers: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert foldin("bench", "serve", *SMALL, "--workers", workers) == 2
    assert "--workers" in capsys.readouterr().err


def test_train_passes_its_options_on(
    foldin: Foldin,
    trained: list[TrainPlan],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    record = tmp_path / "train.json"
    options = ("--users", 70, "--epochs", 3, "--batch-size", 9, "--seed", 5, "--repeats", 4)
    assert foldin("bench", "train", *SMALL, *options, "--json", record) == 0
    (plan,) = trained
    assert (plan.users, plan.epochs, plan.batch_size, plan.seed) == (70, 3, 9, 5)
    assert (plan.repeats, plan.threads, plan.log, plan.shape.items) == (4, 1, None, 300)
    assert "dense, seed 5: 10 users/s" in capsys.readouterr().out
    assert json.loads(record.read_text())["train"]["summary"]["speedup"] == 1


@pytest.mark.usefixtures("plans")
def test_all_four_share_one_model_and_one_record(
    foldin: Foldin, trained: list[TrainPlan], tmp_path: Path
) -> None:
    record = tmp_path / "all.json"
    assert foldin("bench", "all", *SMALL, "--quick", "--json", record) == 0
    written = json.loads(record.read_text())
    assert set(written) == {"environment", "decode", "score", "serve", "train"}
    digests = {written[name]["subject"]["version"] for name in ("decode", "score", "serve")}
    assert len(digests) == 1
    assert trained[0].shape.items == 300
    assert trained[0].users == 1_000


def test_what_cannot_be_written_is_refused_at_once(foldin: Foldin, tmp_path: Path) -> None:
    for verb in ("decode", "score", "serve", "train", "all"):
        assert foldin("bench", verb, "--json", tmp_path) == 2


@pytest.mark.parametrize("verb", ["decode", "score", "serve", "train", "all"])
def test_every_bench_explains_itself(
    foldin: Foldin, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert foldin("bench", verb, "--help") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "[one per core]" in shown or "[as the service]" in shown
    assert "--quick" in shown


def test_unknown_memory_has_no_growth() -> None:
    report = ServeReport(1, "wrk", (ROW,), {OURS: 1.0}, {OURS: None}, (), None)
    assert runs.pss_growth([report, replace(report, workers=2)]) == {}


def test_a_summary_is_plain_json() -> None:
    names: tuple[Contestant, ...] = ("foldin", "dense")
    summary: TrainSummary = summarize([TrainRun(name, 0, 1.0, 1, 1, (1.0,)) for name in names])
    assert runs.plain({"summary": summary, "path": Path("a")})["path"] == "a"
