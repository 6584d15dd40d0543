"""A run that goes by rows learns what a run over whole tables learns."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.sparse import csr_array

from service.checkpoint import build_model
from training.bench.interaction_log import LogShape, planted_split
from training.config import TrainingConfig
from training.data.split import Split
from training.loop import Resumable, TrainingResult, train
from training.optimizers import RowAdam
from training.state import EpochReport
from training.task import RankingTask
from training.touched_rows import TABLES, row_tables

SHAPES: dict[str, dict[str, Any]] = {
    "multvae": {"latent_dim": 8, "hidden_dims": [24]},
    "betavae": {"latent_dim": 8, "hidden_dims": [24]},
    "multdae": {"latent_dim": 16},
    "autoencoder": {"latent_dim": 8, "hidden_dims": [24]},
    "cdae": {"latent_dim": 16, "loss": "logistic"},
}


@pytest.fixture(scope="module")
def wide_split() -> Split:
    """A log with many items of which a batch touches few."""
    return planted_split(LogShape(users=300, items=900, mean_length=8, clusters=6), held_out=60)


class Listener:
    """Presses Ctrl-C in the epoch after some."""

    def __init__(self, interrupt_after: int | None = None) -> None:
        self._left = interrupt_after

    def on_step(self, users: float) -> None:
        del users
        if self._left == 0:
            raise KeyboardInterrupt

    def on_epoch(self, report: EpochReport, best_epoch: int) -> None:
        del report, best_epoch
        if self._left is not None:
            self._left -= 1


def config(model: str, **settings: object) -> TrainingConfig:
    base = {"batch_size": 40, "epochs": 5, "learning_rate": 0.01, "threads": 1, "negatives": 12}
    return TrainingConfig.of({"model": model, **SHAPES[model], **base, **settings})


def losses(result: TrainingResult) -> list[float]:
    return [report.loss for report in result.reports]


def assert_alike(values: Iterable[float], expected: Iterable[float], within: float = 1e-4) -> None:
    assert list(values) == pytest.approx(list(expected), rel=within)


@pytest.mark.parametrize("model", sorted(TABLES))
def test_the_curve_is_that_of_dense_adam_over_whole_tables(model: str, wide_split: Split) -> None:
    by_rows, dense = (
        train(config(model, row_updates=mode), RankingTask(wide_split), Listener())
        for mode in ("auto", "dense")
    )
    assert_alike(losses(by_rows), losses(dense))
    assert_alike(
        (report.valid["ndcg@100"] for report in by_rows.reports),
        (report.valid["ndcg@100"] for report in dense.reports),
        within=5e-3,  # of 60 users: near ties change places
    )


@pytest.mark.parametrize("model", sorted(TABLES))
def test_an_interrupted_run_by_rows_resumes_to_the_same_end(
    model: str, wide_split: Split, tmp_path: Path
) -> None:
    task, fresh = RankingTask(wide_split), Resumable(tmp_path, "run", resume=False)
    whole = train(config(model), task, Listener())
    part = train(config(model), task, Listener(2), fresh)
    assert len(part.reports) < 5
    rest = train(config(model), task, Listener(), replace(fresh, resume=True))
    assert losses(rest) == losses(whole)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, rest.model.state_dict()[name]), name


def test_a_run_by_rows_goes_on_from_a_state_of_dense_adam(
    wide_split: Split, tmp_path: Path
) -> None:
    """Their states are the same: several processes, which go by whole tables, may take over."""
    task, fresh = RankingTask(wide_split), Resumable(tmp_path, "run", resume=False)
    train(config("multvae", row_updates="dense"), task, Listener(1), fresh)
    rest = train(config("multvae"), task, Listener(), replace(fresh, resume=True))
    assert_alike(losses(rest), losses(train(config("multvae"), task, Listener())))


@pytest.mark.parametrize(
    ("settings", "by_rows"),
    [
        ({"model": "multvae", "negatives": 5}, True),
        ({"model": "multvae"}, False),
        ({"model": "multvae", "negatives": 5, "row_updates": "dense"}, False),
        ({"model": "multvae", "negatives": 5, "weight_decay": 1e-4}, False),
        ({"model": "recvae", "negatives": 5}, False),
        ({"model": "dae", "negatives": 5}, False),
    ],
)
def test_a_run_goes_by_rows_where_the_loss_and_the_model_do(
    settings: dict[str, Any], by_rows: bool
) -> None:
    chosen = TrainingConfig.of(settings)
    model = build_model(chosen.model, chosen.architecture, 30, 0)
    assert bool(row_tables(chosen, model)) == by_rows


@pytest.mark.parametrize("model", sorted(TABLES))
def test_every_parameter_as_long_as_the_catalogue_is_a_known_table(model: str) -> None:
    """What is left out would be read in the indices of the small model, and be wrong."""
    chosen = config(model)
    built = build_model(model, chosen.architecture, num_items=97, num_users=89)
    long = {name for name, each in built.named_parameters() if len(each) in {97, 89}}
    assert set(row_tables(chosen, built)) == long


def test_a_step_writes_no_row_that_its_batch_does_not_touch(
    wide_split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the epoch's end, when all rows catch up."""
    rows = wide_split.train.toarray()
    rows[:, 40:] = 0  # items of nobody: only a negative reaches one
    still: list[int] = []

    def noted(self: RowAdam) -> None:
        for table_IH in (each for group in self.param_groups for each in group["params"]):
            if len(table_IH) == rows.shape[1]:
                mean_IH = self.state[table_IH]["exp_avg"].reshape(rows.shape[1], -1)
                still.append(int((mean_IH == 0).all(dim=1).sum()))

    monkeypatch.setattr(RowAdam, "catch_up", noted)
    few = replace(wide_split, train=csr_array(rows))
    train(config("multvae", negatives=1, epochs=1), RankingTask(few), Listener())
    batches = 8  # 300 users in batches of 40, with a negative each
    assert len(still) == 3
    assert min(still) >= rows.shape[1] - 40 - batches
