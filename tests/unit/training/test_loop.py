"""The loop's promises: it learns, repeats, resumes, anneals, stops, and fails clearly."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from service.ranker import ModelRanker
from training import loop
from training.config import TrainingConfig
from training.data.split import Split
from training.errors import BadInputError, TrainingDivergedError
from training.evaluate import evaluate
from training.loop import Resumable, TrainingResult, train
from training.schedule import beta_at, learning_rate_at
from training.state import STATE_FILE, EpochReport, Run, save_state
from training.task import RankingTask

SHAPES: dict[str, dict[str, Any]] = {
    "multvae": {"latent_dim": 8, "hidden_dims": [24], "dropout": 0.3},
    "betavae": {
        "latent_dim": 8,
        "hidden_dims": [24],
        "dropout": 0.3,
        "beta_schedule": "cyclical",
        "cycles": 2,
    },
    "recvae": {
        "latent_dim": 8,
        "hidden_dim": 24,
        "dropout": 0.3,
        "beta_schedule": "constant",
        "beta_cap": 0.005,
    },
    "cdae": {"latent_dim": 16, "corruption": 0.3},
    "autoencoder": {"latent_dim": 8, "hidden_dims": [24], "dropout": 0.3, "loss": "squared"},
    "dae": {"latent_dim": 8, "hidden_dims": [24], "noise": "salt_and_pepper", "corruption": 0.3},
    "multdae": {"latent_dim": 16, "dropout": 0.3, "negatives": 30},
    "elsa": {"latent_dim": 8, "dropout": 0.3},
}


class Listener:
    """Hears of epochs; may raise at one of them, as Ctrl-C does."""

    def __init__(self, interrupt_after: int | None = None) -> None:
        self.users = 0.0
        self.reports: list[EpochReport] = []
        self._interrupt_after = interrupt_after

    def on_step(self, users: float) -> None:
        self.users += users
        if self._interrupt_after is not None and len(self.reports) >= self._interrupt_after:
            raise KeyboardInterrupt

    def on_epoch(self, report: EpochReport, best_epoch: int) -> None:
        del best_epoch
        self.reports.append(report)


def config(model: str = "multvae", **settings: object) -> TrainingConfig:
    base = {"batch_size": 40, "epochs": 6, "learning_rate": 0.01, "threads": 1}
    return TrainingConfig.of({"model": model, **SHAPES[model], **base, **settings})


def without_time(report: EpochReport) -> EpochReport:
    return replace(report, train_s=0, eval_s=0)


def assert_same_run(first: TrainingResult, second: TrainingResult) -> None:
    assert [without_time(r) for r in first.reports] == [without_time(r) for r in second.reports]
    assert first.best_epoch == second.best_epoch
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name


@pytest.mark.parametrize("model", sorted(SHAPES))
def test_a_planted_structure_is_found(model: str, planted_split: Split) -> None:
    result = train(config(model, epochs=30), RankingTask(planted_split), Listener())
    metrics = evaluate(ModelRanker(result.model), planted_split.test)
    assert metrics.values["recall@20"] > 0.9  # a block holds 15 items; chance gives about 0.5
    assert result.users_per_second > 0
    assert result.seconds > 0


@pytest.mark.parametrize("model", sorted(SHAPES))
def test_the_same_seed_gives_the_same_numbers(model: str, planted_split: Split) -> None:
    first = train(config(model), RankingTask(planted_split), Listener())
    assert_same_run(first, train(config(model), RankingTask(planted_split), Listener()))
    other = train(config(model, seed=1), RankingTask(planted_split), Listener())
    assert other.reports[0].loss != first.reports[0].loss


def test_the_global_chance_of_torch_plays_no_part_and_is_left_alone(planted_split: Split) -> None:
    torch.manual_seed(1)
    first = train(config(epochs=2), RankingTask(planted_split), Listener())
    torch.manual_seed(99)
    before = torch.get_rng_state()
    assert_same_run(first, train(config(epochs=2), RankingTask(planted_split), Listener()))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("model", sorted(SHAPES))
@pytest.mark.parametrize("epochs", [1, 4])
def test_an_interrupted_run_resumes_to_the_same_end(
    model: str, epochs: int, planted_split: Split, tmp_path: Path
) -> None:
    whole = train(config(model), RankingTask(planted_split), Listener())
    fresh = Resumable(tmp_path, "run", resume=False)
    part = train(config(model), RankingTask(planted_split), Listener(interrupt_after=epochs), fresh)
    assert part.interrupted
    assert len(part.reports) == epochs
    rest = train(config(model), RankingTask(planted_split), Listener(), replace(fresh, resume=True))
    assert not rest.interrupted
    assert_same_run(whole, rest)


def test_the_state_is_written_as_often_as_its_share_of_the_time_allows(
    planted_split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[int] = []

    def counted(run: Run, fingerprint: str, directory: Path) -> None:
        saved.append(len(run.reports))
        save_state(run, fingerprint, directory)

    monkeypatch.setattr(loop, "save_state", counted)
    train(
        config(), RankingTask(planted_split), Listener(), Resumable(tmp_path, "run", resume=False)
    )
    assert saved[0] == 1
    monkeypatch.setattr(loop, "SAVE_SHARE", 1e-9)
    saved.clear()
    train(
        config(), RankingTask(planted_split), Listener(), Resumable(tmp_path, "run", resume=False)
    )
    assert saved == [1]


def test_gradients_are_cut_to_their_longest(planted_split: Split) -> None:
    free = train(config(max_grad_norm=1e9, epochs=2), RankingTask(planted_split), Listener())
    cut = train(config(max_grad_norm=1e-9, epochs=2), RankingTask(planted_split), Listener())
    # Adam divides by the gradient's size, but for its epsilon of 1e-8: below that steps vanish.
    assert abs(cut.reports[1].loss - cut.reports[0].loss) < 0.2 * abs(
        free.reports[1].loss - free.reports[0].loss
    )


def test_weight_decay_shrinks_the_weights(planted_split: Split) -> None:
    def norm(weight_decay: float) -> float:
        result = train(config(weight_decay=weight_decay), RankingTask(planted_split), Listener())
        return float(result.model.item_vectors_IH.norm())

    assert norm(0.5) < 0.9 * norm(0.0)


def test_the_decay_of_the_step_reaches_adam(planted_split: Split) -> None:
    falling, constant = (
        train(config(decay=decay), RankingTask(planted_split), Listener())
        for decay in ("cosine", "none")
    )
    assert falling.reports[-1].loss != constant.reports[-1].loss


def test_ctrl_c_before_the_first_epoch_is_not_swallowed(planted_split: Split) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(config(), RankingTask(planted_split), Listener(interrupt_after=0))


def test_there_must_be_something_to_resume(planted_split: Split, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="nothing to resume"):
        train(
            config(),
            RankingTask(planted_split),
            Listener(),
            Resumable(tmp_path, "run", resume=True),
        )


def test_the_state_of_another_run_is_refused(planted_split: Split, tmp_path: Path) -> None:
    train(
        config(epochs=1),
        RankingTask(planted_split),
        Listener(),
        Resumable(tmp_path, "one", resume=False),
    )
    with pytest.raises(BadInputError, match=r"other data or settings.*run without --resume"):
        train(
            config(epochs=1),
            RankingTask(planted_split),
            Listener(),
            Resumable(tmp_path, "two", resume=True),
        )


@pytest.mark.parametrize(
    "damage", [lambda content: content[:100], lambda content: b"\x80" + content]
)
def test_a_damaged_state_is_refused(
    planted_split: Split, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    train(
        config(epochs=1),
        RankingTask(planted_split),
        Listener(),
        Resumable(tmp_path, "run", resume=False),
    )
    path = tmp_path / STATE_FILE
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(BadInputError, match="damaged"):
        train(
            config(epochs=1),
            RankingTask(planted_split),
            Listener(),
            Resumable(tmp_path, "run", resume=True),
        )


def test_beta_climbs_in_a_line_to_its_cap_whatever_the_size_of_the_data() -> None:
    settings = config(beta_cap=0.2, anneal_fraction=0.5)
    for total_steps in (10, 46_800):
        assert beta_at(0, total_steps, settings) == 0
        assert beta_at(total_steps // 4, total_steps, settings) == pytest.approx(0.1, rel=0.2)
        assert beta_at(total_steps // 2, total_steps, settings) == pytest.approx(0.2)
        assert beta_at(total_steps, total_steps, settings) == pytest.approx(0.2)
    assert beta_at(1, 100, config(anneal_fraction=0, beta_cap=0.3)) == 0.3


def test_the_step_of_adam_falls_along_half_a_cosine_or_stays() -> None:
    falling = config(learning_rate=0.1)
    assert [learning_rate_at(step, 100, falling) for step in (0, 50, 100)] == pytest.approx(
        [0.1, 0.05, 0.0]
    )
    assert learning_rate_at(99, 100, config(learning_rate=0.1, decay="none")) == 0.1


def test_every_epoch_reports_the_beta_of_its_last_step(planted_split: Split) -> None:
    settings = config(epochs=4, anneal_fraction=0.5)
    listener = Listener()
    train(settings, RankingTask(planted_split), listener)
    steps = 4  # 150 users in batches of 40
    expected = [beta_at(steps * epoch, 4 * steps, settings) for epoch in (1, 2, 3, 4)]
    assert [report.beta for report in listener.reports] == pytest.approx(expected)
    assert listener.users == 4 * 150


def test_the_best_epoch_by_validation_ndcg_is_kept_and_patience_ends_the_run(
    planted_split: Split,
) -> None:
    result = train(
        config(epochs=200, patience=5, learning_rate=0.05), RankingTask(planted_split), Listener()
    )
    curve = [report.valid["ndcg@100"] for report in result.reports]
    assert result.best_epoch == int(np.argmax(curve)) + 1
    assert len(curve) == result.best_epoch + 5 < 200
    valid = evaluate(ModelRanker(result.model), planted_split.valid)
    assert valid.ndcg_at_100 == pytest.approx(max(curve), abs=1e-12)


def test_weights_that_the_last_step_spoils_stop_the_run_before_they_are_kept(
    planted_split: Split, tmp_path: Path
) -> None:
    one_step = config(epochs=1, batch_size=10_000, learning_rate=1e38)
    resumable = Resumable(tmp_path, "run", resume=False)
    with pytest.raises(TrainingDivergedError, match=r"no longer finite after epoch 1.*learning_"):
        train(one_step, RankingTask(planted_split), Listener(), resumable)
    assert not list(tmp_path.iterdir())


def test_a_loss_that_is_not_finite_stops_the_run_with_advice(planted_split: Split) -> None:
    spoilt = planted_split.train.copy()
    spoilt.data[7] = np.inf
    with pytest.raises(TrainingDivergedError, match=r"epoch 1.*learning_rate"):
        train(config(), RankingTask(replace(planted_split, train=spoilt)), Listener())


def test_a_training_user_without_items_does_no_harm(planted_split: Split) -> None:
    rows = planted_split.train.toarray()
    rows[3] = 0
    train_without = replace(planted_split, train=csr_array(rows))
    result = train(config(epochs=1), RankingTask(train_without), Listener())
    assert np.isfinite(result.reports[0].loss)
