"""The file of a run in progress: nothing is left beside it, whatever ends the run."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from training import state
from training.config import TrainingConfig
from training.data.split import Split
from training.errors import BadInputError
from training.loop import Resumable, train
from training.state import PART_PREFIX, STAGING, STATE_FILE, advice
from training.task import RankingTask

CONFIG = TrainingConfig.of({"model": "cdae", "latent_dim": 4, "epochs": 1, "threads": 1})


class Silence:
    def on_step(self, users: float) -> None: ...

    def on_epoch(self, report: object, best_epoch: int) -> None: ...


@pytest.mark.parametrize("resume", [True, False])
def test_what_a_kill_while_saving_left_is_gone_after_the_next_run(
    planted_split: Split, tmp_path: Path, resume: bool
) -> None:
    task, run = RankingTask(planted_split), Resumable(tmp_path, "run", resume=False)
    train(CONFIG, task, Silence(), run)
    left = tmp_path / STAGING
    left.mkdir()
    (left / ".tmpK2x").write_bytes(b"half a state")
    other = tmp_path / ".tmpOther"  # nothing of ours
    other.touch()
    train(CONFIG, task, Silence(), replace(run, resume=resume))
    assert {path.name for path in tmp_path.iterdir()} == {STATE_FILE, other.name}


def test_a_state_is_staged_apart_so_that_a_kill_leaves_no_file_beside_it(
    planted_split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What safetensors writes first has a random name: it is found again by its folder only."""
    folders: list[Path] = []

    def killed(tensors: object, path: Path, metadata: object) -> None:
        del tensors, metadata
        folders.append(path.parent)
        raise MemoryError

    monkeypatch.setattr(state, "save_file", killed)
    with pytest.raises(MemoryError):
        train(
            CONFIG,
            RankingTask(planted_split),
            Silence(),
            Resumable(tmp_path, "run", resume=False),
        )
    assert folders == [tmp_path / STAGING]


@pytest.mark.parametrize(
    ("kept", "advice"),
    [(True, "--resume goes on"), (False, "no state was kept: put that right, and run without")],
)
def test_a_disk_that_is_full_keeps_the_state_before_and_says_how_to_go_on(
    planted_split: Split,
    tmp_path: Path,
    kept: bool,
    advice: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = Resumable(tmp_path, "run", resume=False)
    if kept:
        train(CONFIG, RankingTask(planted_split), Silence(), run)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(descriptor: int) -> None:
        del descriptor
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BadInputError, match="No space left on device; .*" + advice):
        train(CONFIG, RankingTask(planted_split), Silence(), run)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_ctrl_c_while_the_best_weights_are_copied_leaves_the_best_before(
    planted_split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(tensor: torch.Tensor) -> torch.Tensor:
        del tensor
        raise KeyboardInterrupt

    monkeypatch.setattr(torch.Tensor, "clone", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(CONFIG, RankingTask(planted_split), Silence())


def test_the_state_of_one_part_is_enough_to_go_on_with_all(tmp_path: Path) -> None:
    first, second = (tmp_path / f"{PART_PREFIX}{name}" for name in ("cdae", "multvae"))
    assert advice(second) == advice(tmp_path)
    assert "no state was kept" in advice(second)
    first.mkdir()
    (first / STATE_FILE).touch()
    assert advice(second) == advice(first) == advice(tmp_path)
    assert "--resume goes on" in advice(second)
