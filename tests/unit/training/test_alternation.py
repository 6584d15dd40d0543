"""RecVAE in the loop: each phase moves its own half, and both optimisers are resumed."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from service import checkpoint
from service.autoencoders.recvae import RecVAE
from service.catalog import Catalog
from training.config import TrainingConfig
from training.data.split import Split
from training.loop import Resumable, TrainingResult, train
from training.state import STATE_FILE, EpochReport
from training.task import RankingTask

STEPS = 4  # a pass: 150 users in batches of 40


class Listener:
    """Counts users; ends the run at a step, counted from 0 over all epochs, as Ctrl-C does."""

    def __init__(self, interrupt_at: int | None = None) -> None:
        self.users = 0.0
        self.reports: list[EpochReport] = []
        self._steps_left = interrupt_at

    def on_step(self, users: float) -> None:
        self.users += users
        if self._steps_left is not None:
            self._steps_left -= 1
            if self._steps_left < 0:
                raise KeyboardInterrupt

    def on_epoch(self, report: EpochReport, best_epoch: int) -> None:
        del best_epoch
        self.reports.append(report)


def config(**settings: object) -> TrainingConfig:
    shape = {"latent_dim": 6, "hidden_dim": 16, "batch_size": 40, "learning_rate": 0.01}
    beta = {"beta_schedule": "constant", "beta_cap": 0.005}
    run = {"model": "recvae", "epochs": 5, "threads": 1}
    return TrainingConfig.of(shape | beta | run | settings)


def test_an_epoch_is_three_passes_of_the_encoder_and_one_of_the_decoder(
    planted_split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Tensor]] = []

    class Spy(Listener):
        def on_step(self, users: float) -> None:
            super().on_step(users)
            (model,) = models
            seen.append({name: value.clone() for name, value in model.state_dict().items()})

    models: list[RecVAE] = []
    start_phase = RecVAE.start_phase

    def noted(model: RecVAE, name: str) -> None:
        models[:] = [model]
        start_phase(model, name)

    monkeypatch.setattr(RecVAE, "start_phase", noted)
    spy = Spy()
    train(config(epochs=2), RankingTask(planted_split), spy)
    assert spy.users == 2 * 150
    assert len(seen) == 2 * 4 * STEPS
    moved = [
        {name for name in after if not torch.equal(before[name], after[name])}
        for before, after in pairwise(seen)
    ]
    decoder = {"item_vectors_IH", "item_bias_I"}
    encoder = set(seen[0]) - decoder
    epoch = [encoder] * (3 * STEPS) + [decoder] * STEPS
    assert moved == (epoch * 2)[1:]


@pytest.mark.parametrize("interrupt_at", [4 * STEPS, 4 * STEPS + 2, 8 * STEPS - 1])
def test_a_run_that_ends_in_either_phase_resumes_to_the_same_end(
    interrupt_at: int, planted_split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.loop.SAVE_SHARE", 1e9)  # the state is written every epoch
    task, state = RankingTask(planted_split), Resumable(tmp_path, "run", resume=False)
    whole = train(config(), task, Listener())
    assert train(config(), task, Listener(interrupt_at), state).interrupted
    rest = train(config(), task, Listener(), replace(state, resume=True))
    assert_same_run(whole, rest)


def assert_same_run(first: TrainingResult, second: TrainingResult) -> None:
    timeless = [
        [replace(report, train_s=0, eval_s=0) for report in result.reports]
        for result in (first, second)
    ]
    assert timeless[0] == timeless[1]
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name


def test_the_state_holds_both_optimisers_and_no_copy_of_the_encoder(
    planted_split: Split, tmp_path: Path
) -> None:
    result = train(
        config(epochs=1),
        RankingTask(planted_split),
        Listener(),
        Resumable(tmp_path, "run", resume=False),
    )
    with safe_open(tmp_path / STATE_FILE, framework="pt") as file:
        names = set(file.keys())
        encoder_steps = file.get_tensor("optimizer.encoder.0.step").item()
        decoder_steps = file.get_tensor("optimizer.decoder.0.step").item()
    assert (encoder_steps, decoder_steps) == (3 * STEPS, STEPS)
    weights = {name.removeprefix("model.") for name in names if name.startswith("model.")}
    assert weights == set(result.model.state_dict())


def test_the_bundle_is_served_as_it_was_trained(planted_split: Split, tmp_path: Path) -> None:
    result = train(config(), RankingTask(planted_split), Listener())
    size = len(planted_split.item_ids)
    catalog = Catalog(
        planted_split.item_ids,
        ("",) * size,
        ((),) * size,
        torch.zeros(size, dtype=torch.int64).numpy(),
    )
    files = checkpoint.bundle_files(result.model, catalog, (), ())
    (tmp_path / checkpoint.WEIGHTS).write_bytes(files[checkpoint.WEIGHTS])
    with safe_open(tmp_path / checkpoint.WEIGHTS, framework="pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    with torch.device("meta"):
        served = checkpoint.build_model("recvae", config().architecture, size, 0)
    served.load_state_dict(weights, assign=True)
    assert set(weights) == {name for name, _ in result.model.named_parameters()}
    for name, value in served.freeze().state_dict().items():
        assert torch.equal(value, result.model.state_dict()[name]), name
