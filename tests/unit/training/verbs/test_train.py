"""``foldin train`` as the second of two processes: it helps, and neither tells nor writes."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from torch import distributed
from typer.testing import CliRunner, Result

from training.cli import app
from training.errors import BadInputError
from training.verbs.options import console

ROOT = Path(__file__).parents[4]
ENDS_S = 60.0


@pytest.fixture
def log(tmp_path: Path) -> Path:
    generator = np.random.default_rng(5)
    pairs = [
        f"u{user:03},i{item:03}"
        for user in range(120)
        for item in user % 3 * 40 + generator.choice(40, 12, replace=False)
    ]
    path = tmp_path / "log.csv"
    path.write_text("\n".join(["user_id,item_id", *pairs]) + "\n")
    return path


@pytest.fixture
def second(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make this process the second of two, as torchrun does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    variables = {"TORCHELASTIC_RUN_ID": "test", "RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    for name, value in (variables | meeting).items():
        monkeypatch.setenv(name, value)
    yield
    if distributed.is_initialized():
        distributed.destroy_process_group()


def train_beside(log: Path, first: Path, own: Path, *options: str) -> tuple[Result, str, int]:
    """Train as the second process beside a first one: this one's end, the other's, its code."""

    def arguments(out: Path) -> list[str]:
        small = ["--model", "cdae", "--set", "latent_dim=8", "--epochs", "2", "--threads", "1"]
        return ["train", str(log), "--out", str(out), "--device", "cpu", *small]

    peer = subprocess.Popen(
        [sys.executable, "-m", "training", *arguments(first)],
        cwd=ROOT,
        env={**os.environ, "RANK": "0", "LOCAL_RANK": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    result = CliRunner().invoke(app, [*arguments(own), *options])
    if distributed.is_initialized():
        distributed.destroy_process_group()
    told, _ = peer.communicate(timeout=ENDS_S)
    return result, told, peer.returncode


@pytest.mark.usefixtures("second")
def test_the_second_process_is_silent_and_the_first_writes(log: Path, tmp_path: Path) -> None:
    first, own = tmp_path / "first", tmp_path / "own"
    result, told, code = train_beside(log, first, own)
    assert (result.exit_code, result.output) == (0, "")
    assert code == 0, told
    assert "epoch 2/2" in told
    assert (first / "CURRENT").is_file()
    assert not own.exists()
    assert not console.quiet


@pytest.mark.usefixtures("second")
def test_two_processes_with_other_settings_refuse_to_go_on(log: Path, tmp_path: Path) -> None:
    result, told, code = train_beside(log, tmp_path / "first", tmp_path / "own", "--seed", "7")
    assert isinstance(result.exception, BadInputError)
    assert "the data or the settings of process 1 are not those of process 0" in told
    assert code == 2
