"""The file of a run in progress: nothing is left beside it, and a damaged one is refused."""

import errno
import json
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from training import state
from training.config import TrainingConfig
from training.data.split import Split
from training.errors import BadInputError
from training.loop import Resumable, train
from training.state import (
    ANEW,
    PART_PREFIX,
    STAGING,
    STATE_FILE,
    advice,
    check_state,
    forget_states,
)
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


@pytest.mark.parametrize("name", [STAGING, f"{PART_PREFIX}cdae"])
def test_a_file_in_place_of_a_folder_of_states_is_forgotten_with_them(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_text("not a folder")
    (tmp_path / f"{PART_PREFIX}gone").symlink_to(tmp_path / "nowhere")
    forget_states(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_place_of_the_folder_that_a_state_is_staged_in_does_not_end_a_run(
    planted_split: Split, tmp_path: Path
) -> None:
    (tmp_path / STAGING).write_text("not a folder")
    train(CONFIG, RankingTask(planted_split), Silence(), Resumable(tmp_path, "run", resume=False))
    assert [path.name for path in tmp_path.iterdir()] == [STATE_FILE]


@pytest.fixture
def kept(planted_split: Split, tmp_path: Path) -> Path:
    """The state of a run of one epoch."""
    train(CONFIG, RankingTask(planted_split), Silence(), Resumable(tmp_path, "run", resume=False))
    return tmp_path / STATE_FILE


def resume(split: Split, kept: Path, **settings: object) -> None:
    more = TrainingConfig.of({**CONFIG.model_dump(exclude_unset=True), **settings})
    train(more, RankingTask(split), Silence(), Resumable(kept.parent, "run", resume=True))


def test_a_state_with_any_bit_flipped_is_refused(kept: Path) -> None:
    """Wherever it is: in the lengths, names and numbers of the header or in the tensors."""
    whole = kept.read_bytes()
    assert check_state("run", kept.parent)
    for place in range(0, len(whole), len(whole) // 400):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        kept.write_bytes(damaged)
        with pytest.raises(BadInputError, match=f"^{kept} is damaged: [^\n]*; {ANEW}$"):
            check_state("run", kept.parent)


def test_one_flipped_bit_of_the_best_weights_ends_a_resumed_run_before_its_first_epoch(
    planted_split: Split, kept: Path
) -> None:
    content = bytearray(kept.read_bytes())
    with safe_open(kept, framework="pt") as file:
        best = file.get_tensor("best.item_bias_I").numpy().tobytes()
    content[content.index(best)] ^= 1
    kept.write_bytes(content)
    with pytest.raises(BadInputError, match=f"is damaged: .*digest.*; {ANEW}"):
        resume(planted_split, kept)


def rewrite(
    kept: Path, change: Callable[[dict[str, Any], dict[str, Tensor]], Any], *, digest: bool = True
) -> None:
    """Change what a state holds; ``change`` gives other progress, or works on what it is given."""
    with safe_open(kept, framework="pt") as file:
        progress = json.loads(file.metadata()[state.PROGRESS])
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - no mapping
    changed = change(progress, tensors)
    text = json.dumps(progress if changed is None else changed)
    metadata = {state.PROGRESS: text}
    if digest:
        metadata[state.DIGEST] = state._digest(text, tensors)
    save_file(tensors, kept, metadata=metadata)


def test_a_state_without_a_digest_is_refused(planted_split: Split, kept: Path) -> None:
    rewrite(kept, lambda _progress, _tensors: None, digest=False)
    with pytest.raises(BadInputError, match=f"is damaged: .*digest.*; {ANEW}"):
        resume(planted_split, kept)


def put(name: str, value: object) -> Callable[[dict[str, Any], dict[str, Tensor]], Any]:
    def change(progress: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        if isinstance(value, Tensor):
            tensors[name] = value
        else:
            progress[name] = value

    return change


def drop(name: str) -> Callable[[dict[str, Any], dict[str, Tensor]], Any]:
    def change(progress: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        target: dict[str, Any] = progress if name in progress else tensors
        del target[name]

    return change


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (drop("step"), "step: "),
        (put("step", "7"), "step: "),
        (put("best_epoch", 0.5), "best_epoch: "),
        (put("best_merit", None), "best_merit: "),
        (put("reports", [{"epoch": 1}]), "reports.0.loss: "),
        (put("reports", [7]), "reports.0: "),
        (put("reports", "junk"), "reports: "),
        (lambda progress, _: [progress], ": "),
        (drop("generator.order"), "generator.order is missing"),
        (put("generator.noise", torch.zeros(16, dtype=torch.uint8)), "generator.noise has another"),
        (drop("model.item_bias_I"), "model.item_bias_I is missing"),
        (put("model.item_bias_I", torch.zeros(3)), "model.item_bias_I has another"),
        (put("model.more", torch.zeros(3)), "model.more is unknown"),
        (drop("best.item_bias_I"), "best.item_bias_I is missing"),
        (drop("optimizer.all.0.exp_avg"), "optimizer.all.0.exp_avg is missing"),
        (put("optimizer.all.0.momentum", torch.zeros(3)), "optimizer.all.0.momentum is unknown"),
        (put("optimizer.all.x.step", torch.zeros(())), "optimizer.all.x.step is unknown"),
        (put("optimizer.all.99.step", torch.zeros(())), "optimizer.all.99.step is unknown"),
        (put("optimizer.other.0.step", torch.zeros(())), "optimizer.other.0.step is unknown"),
        (put("strange", torch.zeros(3)), "strange is unknown"),
    ],
)
def test_a_whole_state_that_does_not_fit_is_refused_in_one_line(
    planted_split: Split,
    kept: Path,
    change: Callable[[dict[str, Any], dict[str, Tensor]], Any],
    fault: str,
) -> None:
    """Its digest is right: only another version can have written it."""
    rewrite(kept, change)
    with pytest.raises(BadInputError, match=f"^{kept} is damaged: {fault}[^\n]*; {ANEW}$"):
        resume(planted_split, kept)


def test_numbers_that_are_not_finite_come_back_as_they_were(
    planted_split: Split, kept: Path
) -> None:
    """A report has NaN where a metric has nobody to be measured on."""

    def unmeasured(progress: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        progress["best_epoch"], progress["best_merit"] = 0, -math.inf
        progress["reports"][0]["valid"] = {"ndcg@100": math.nan}
        for name in [name for name in tensors if name.startswith("best.")]:
            del tensors[name]

    rewrite(kept, unmeasured)
    resume(planted_split, kept, epochs=2)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor(1.0),
        torch.zeros(0, 3),
        torch.ones(2, 3, dtype=torch.bfloat16),
        torch.tensor([True, False]),
    ],
)
def test_the_digest_tells_apart_names_types_shapes_and_bits(tensor: Tensor) -> None:
    others = [
        ("{}", {"b": tensor}),
        ("[]", {"a": tensor}),
        ("{}", {"a": tensor.reshape(-1, 1, 1, 1)}),
        ("{}", {"a": tensor.to(torch.float64)}),
        ("{}", {"a": tensor.logical_not()}),
        ("{}", {"a": tensor, "b": tensor}),
    ]
    digests = {state._digest(*each) for each in [("{}", {"a": tensor}), *others]}
    assert len(digests) == len(others) + 1


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
