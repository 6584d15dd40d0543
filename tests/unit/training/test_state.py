"""The file of a run in progress: nothing is left beside it, whatever ends the run."""

from dataclasses import replace
from pathlib import Path

import pytest

from training import state
from training.config import TrainingConfig
from training.data.split import Split
from training.loop import Resumable, train
from training.state import STAGING, STATE_FILE
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
