"""``foldin train`` under the real torchrun: what one process trains, by two of them."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from typer.testing import CliRunner

from training.cli import app
from training.state import STATE_FILE

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, which Linux alone has"),
]
ROOT = Path(__file__).parents[2]
ENDS_S = 120.0
DIES_S = 30.0
TORCHRUN = (sys.executable, "-m", "torch.distributed.run")
HERE = ("--standalone", "--nproc-per-node", "2")
MODELS = {
    "multvae": ("latent_dim=8", "hidden_dims=[24]"),
    "recvae": ("latent_dim=8", "hidden_dim=24"),
    "cdae": ("latent_dim=8",),
    "dae": ("latent_dim=8", "hidden_dims=[24]", "noise=salt_and_pepper"),
    "multdae": ("latent_dim=8", "negatives=40"),
}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 users, each with twelve items of one of three tastes and one of any."""
    generator = np.random.default_rng(5)
    lines = ["user_id,item_id"]
    for user in range(300):
        own = user % 3 * 40 + generator.choice(40, 12, replace=False)
        lines += [f"u{user:03},i{item:03}" for item in (*own, generator.integers(120))]
    path = tmp_path_factory.mktemp("log") / "log.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def ratings(log: Path) -> Path:
    """The same pairs with stars."""
    generator = np.random.default_rng(6)
    first, *lines = log.read_text().splitlines()
    stars = [f"{line},{generator.integers(1, 6)}" for line in lines]
    path = log.with_name("ratings.csv")
    path.write_text("\n".join([f"{first},rating", *stars]) + "\n")
    return path


def command(log: Path, out: Path, model: str, *options: str) -> list[str]:
    settings = [f"--set={each}" for each in MODELS.get(model, ())]
    run = ["--out", str(out), "--json", str(out.with_suffix(".json")), "--model", model]
    small = ["--epochs", "4", "--batch-size", "37", "--threads", "1", "--device", "cpu"]
    return ["train", str(log), *run, *settings, *small, *options]


def alone(arguments: Sequence[str], out: Path) -> dict[str, Any]:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0, done.output
    return record(out)


def record(out: Path) -> dict[str, Any]:
    read: dict[str, Any] = orjson.loads(out.with_suffix(".json").read_bytes())
    return read


def started(launch: Sequence[str], arguments: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*TORCHRUN, *launch, "-m", "training", *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def together(launch: Sequence[str], arguments: Sequence[str], out: Path) -> dict[str, Any]:
    run = started(launch, arguments)
    told, _ = run.communicate(timeout=ENDS_S)
    assert run.returncode == 0, told
    return record(out)


def assert_alike(one: dict[str, Any], two: dict[str, Any]) -> None:
    """Losses within 1e-4, the same best epoch, the same figures on test users."""
    for alone_, shared in zip(one["curve"], two["curve"], strict=True):
        assert abs(alone_["loss"] - shared["loss"]) < 1e-4
        assert abs(alone_["regularizer"] - shared["regularizer"]) < 1e-4
        assert alone_["beta"] == shared["beta"]
        assert alone_["valid"] == pytest.approx(shared["valid"], abs=1e-6)
    assert one["best_epoch"] == two["best_epoch"]
    assert one["test"] == pytest.approx(two["test"], abs=1e-6)


def test_two_processes_give_the_curve_and_the_bundle_of_one(log: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    expected = alone(command(log, one, "multvae"), one)
    assert_alike(expected, together(HERE, command(log, two, "multvae"), two))
    (bundle,) = (path for path in two.iterdir() if path.is_dir())
    assert (two / "CURRENT").read_text().strip() == bundle.name
    assert not (two / STATE_FILE).exists()


@pytest.mark.slow
@pytest.mark.parametrize("model", [*sorted(MODELS), "autorec-user", "autorec-item"])
def test_every_kind_of_model_is_trained_by_two_as_by_one(
    model: str, log: Path, ratings: Path, tmp_path: Path
) -> None:
    data = ratings if model.startswith("autorec") else log
    one, two = tmp_path / "one", tmp_path / "two"
    expected = alone(command(data, one, model), one)
    assert_alike(expected, together(HERE, command(data, two, model), two))


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("processes", [1, 2])
def test_a_killed_process_ends_the_run_clearly_and_resume_gives_the_same_end(
    victim: int, processes: int, log: Path, tmp_path: Path
) -> None:
    long = ("--epochs", "80", "--set=patience=80")
    one, two = tmp_path / "one", tmp_path / "two"
    expected = alone(command(log, one, "multvae", *long), one)
    arguments = command(log, two, "multvae", *long)
    run = started(HERE, arguments)
    wait_for((two / STATE_FILE).is_file)
    os.kill(worker(run.pid, victim), signal.SIGKILL)
    told, _ = run.communicate(timeout=DIES_S)
    assert run.returncode == 1
    lines = [line for line in told.splitlines() if line.startswith("foldin: ")]
    assert len(lines) == 1
    assert re.search(r"process.*--resume goes on", lines[0])
    assert not (two / "CURRENT").exists()
    rest = [*arguments, "--resume"]
    resumed = alone(rest, two) if processes == 1 else together(HERE, rest, two)
    assert_alike(expected, resumed)


@pytest.mark.slow
def test_two_machines_train_together_without_a_disk_in_common(log: Path, tmp_path: Path) -> None:
    one, first, second = (tmp_path / name for name in ("one", "first", "second"))
    expected = alone(command(log, one, "cdae"), one)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    meeting = ["--nnodes", "2", "--master-addr", "127.0.0.1", "--master-port", str(port)]
    nodes = [
        started([*meeting, "--node-rank", str(rank)], command(log, out, "cdae"))
        for rank, out in enumerate((first, second))
    ]
    told = [node.communicate(timeout=ENDS_S)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], told
    assert_alike(expected, record(first))
    assert not second.exists()  # the first machine has the bundle, the second only helped
    assert "epoch" in told[0]
    assert "epoch" not in told[1]


@pytest.mark.slow
def test_ctrl_c_keeps_the_best_epoch(log: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run = started(HERE, command(log, out, "multvae", "--epochs", "5000", "--set=patience=5000"))
    wait_for((out / STATE_FILE).is_file)
    run.send_signal(signal.SIGINT)
    told, _ = run.communicate(timeout=DIES_S)
    assert run.returncode != 0
    assert "names the best epoch so far" in told
    assert (out / "CURRENT").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("model", ["ease", "hybrid"])
def test_what_one_process_fits_is_refused_in_one_line(
    model: str, log: Path, tmp_path: Path
) -> None:
    run = started(HERE, ["train", str(log), "--model", model, "--out", str(tmp_path / "out")])
    told, _ = run.communicate(timeout=DIES_S)
    assert run.returncode == 1
    assert f"foldin: {model} is fitted by one process: run it without torchrun" in told
    assert "training/fitting.py" not in told


def wait_for(happened: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + ENDS_S
    while not happened():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def worker(launcher: int, rank: int) -> int:
    """Find the process of a rank among the children of a torchrun."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    for child in children:
        variables = Path(f"/proc/{child}/environ").read_text().split("\0")
        if f"RANK={rank}" in variables:
            return int(child)
    raise LookupError(f"torchrun {launcher} has no process of rank {rank}: {children}")
