"""What the record of a run tells of the dimensions of a posterior."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from service.autoencoders.betavae import BetaVAE, BetaVAEConfig
from service.checkpoint import build_model
from service.histories import History, HistoryBatch
from training import posterior
from training.config import TrainingConfig
from training.data.split import Split
from training.loop import train
from training.posterior import ACTIVE_KL, posterior_record
from training.state import EpochReport
from training.task import RankingTask

NUM_ITEMS = 20


class Silence:
    """Hears of steps and epochs and says nothing."""

    def on_step(self, users: float) -> None:
        """Hear that a step is done."""

    def on_epoch(self, report: EpochReport, best_epoch: int) -> None:
        """Hear that an epoch is done."""


def built() -> BetaVAE:
    torch.manual_seed(0)
    model = BetaVAE(BetaVAEConfig(latent_dim=5, hidden_dims=(8,)), NUM_ITEMS)
    with torch.no_grad():
        model.posterior.weight.mul_(2)
        for dead in (1, 3):  # mean 0, variance 1 for everybody
            model.posterior.weight[[dead, 5 + dead]] = 0
    return model.freeze()


def rows() -> csr_array:
    generator = np.random.default_rng(0)
    dense = (generator.random((11, NUM_ITEMS)) < 0.3).astype(np.float32)
    dense[4] = 0
    return csr_array(dense)


@pytest.mark.parametrize("block", [500, 11, 4, 1])
def test_dimensions_are_told_by_mean_kl_with_the_greatest_first(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posterior, "USERS_PER_BLOCK", block)
    model = built()
    batch = HistoryBatch.from_rows([History.of(row.nonzero()[0]) for row in rows().toarray()])
    expected_D = model.kl_per_dimension(batch).double().numpy()
    found = posterior_record(model, rows())
    told = {entry["dimension"]: entry["kl"] for entry in found["kl_per_dimension"]}
    assert [told[d] for d in range(5)] == pytest.approx(expected_D.tolist(), abs=1e-6)
    order = [entry["dimension"] for entry in found["kl_per_dimension"]]
    assert order == np.argsort(-expected_D).tolist()
    assert set(order[-2:]) == {1, 3}
    assert (found["active_dimensions"], found["dimensions"]) == (3, 5)
    assert (expected_D > ACTIVE_KL).sum() == 3


def test_a_model_without_a_posterior_has_nothing_to_tell() -> None:
    model = build_model("multdae", {"latent_dim": 4}, NUM_ITEMS, 0).freeze()
    assert posterior_record(model, rows()) == {}


def test_a_greater_beta_leaves_fewer_dimensions_in_use(planted_split: Split) -> None:
    active = []
    for beta_cap in (0.05, 3.0, 1000.0):
        settings = {"latent_dim": 12, "hidden_dims": [24], "epochs": 15, "batch_size": 40}
        beta = {"beta_schedule": "constant", "beta_cap": beta_cap, "learning_rate": 0.01}
        config = TrainingConfig.of({"model": "betavae", "threads": 1} | settings | beta)
        trained = train(config, RankingTask(planted_split), Silence()).model
        active.append(posterior_record(trained, planted_split.train)["active_dimensions"])
    assert active[0] > active[1] > active[2]
    assert active[2] == 0
