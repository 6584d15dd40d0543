"""A hybrid is fitted out of its parents; validation chooses how much each of them counts."""

from pathlib import Path

import numpy as np
import pytest
import torch

from service.autoencoders.cdae import CDAE, CDAEConfig
from service.autoencoders.hybrid import Hybrid
from service.autoencoders.item_item import ItemItem
from service.autoencoders.multvae import MultVAE, MultVAEConfig
from service.catalog import Catalog
from service.ranker import ModelRanker
from training.config import TrainingConfig
from training.data.datasets import Dataset
from training.data.split import Split
from training.evaluate import evaluate
from training.fitting import fit
from training.fusion import choose_weights
from training.loop import Resumable
from training.state import STATE_FILE, EpochReport

PARENTS = [
    {"architecture": "cdae", "config": {"latent_dim": 8}},
    {"architecture": "multvae", "config": {"latent_dim": 4, "hidden_dims": [12]}},
]


class Listener:
    def __init__(self, interrupt_after: int | None = None) -> None:
        self.reports: list[EpochReport] = []
        self._interrupt_after = interrupt_after

    def on_step(self, users: float) -> None: ...

    def on_epoch(self, report: EpochReport, best_epoch: int) -> None:
        assert best_epoch <= report.epoch
        self.reports.append(report)
        if len(self.reports) == self._interrupt_after:
            raise KeyboardInterrupt


@pytest.fixture
def dataset(planted_split: Split) -> Dataset:
    num_items = len(planted_split.item_ids)
    return Dataset(
        name="planted",
        split=planted_split,
        catalog=Catalog(
            item_ids=planted_split.item_ids,
            titles=("",) * num_items,
            categories=((),) * num_items,
            popularity_I=np.ones(num_items, dtype=np.int64),
        ),
        positive_threshold=None,
        fingerprint="f",
        notes=(),
    )


def config(**settings: object) -> TrainingConfig:
    return TrainingConfig.of(
        {"model": "hybrid", "parents": PARENTS, "epochs": 8, "learning_rate": 0.01} | settings
    )


def test_a_planted_structure_is_found_at_least_as_well_as_by_its_parents(dataset: Dataset) -> None:
    result = fit(config(), dataset, Listener())
    assert isinstance(result.model, Hybrid)
    ndcg = evaluate(ModelRanker(result.model), dataset.split.valid).ndcg_at_100
    assert ndcg == pytest.approx(result.facts["valid ndcg@100, fused"], abs=1e-6)
    for parent in ("cdae", "multvae"):
        assert ndcg >= result.facts[parent]["valid ndcg@100"] - 1e-6
    assert ndcg >= result.facts["edlae"]["valid ndcg@100, pruned"] - 1e-6
    assert not result.interrupted


def test_settings_of_the_run_hold_for_every_parent(dataset: Dataset) -> None:
    listener = Listener()
    fit(config(epochs=3), dataset, listener)
    assert [report.epoch for report in listener.reports] == [1, 2, 3, 1, 2, 3]


def test_ctrl_c_in_the_second_parent_keeps_what_is_trained(
    dataset: Dataset, tmp_path: Path
) -> None:
    resumable = Resumable(tmp_path, "run", resume=False)
    part = fit(config(epochs=3), dataset, Listener(interrupt_after=5), resumable)
    assert part.interrupted
    assert isinstance(part.model, Hybrid)
    assert (tmp_path / ".hybrid-cdae" / STATE_FILE).is_file()
    rest = fit(config(epochs=3), dataset, Listener(), Resumable(tmp_path, "run", resume=True))
    whole = fit(config(epochs=3), dataset, Listener())
    assert not rest.interrupted
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(rest.model.state_dict()[name], tensor), name
    assert not list(tmp_path.iterdir())  # nothing is left to resume


def test_ctrl_c_before_anything_is_trained_is_not_swallowed(dataset: Dataset) -> None:
    class Impatient(Listener):
        def on_step(self, users: float) -> None:
            if self.reports == [] and users < 150:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(config(batch_size=40), dataset, Impatient())


def test_a_parent_that_knows_better_gets_the_weight(planted_split: Split) -> None:
    """The linear parent knows the blocks, the deep ones are chance: it must count most."""
    torch.manual_seed(0)
    num_items = len(planted_split.item_ids)
    deep = [
        CDAE(CDAEConfig(latent_dim=4), num_items).freeze(),
        MultVAE(MultVAEConfig(latent_dim=4, hidden_dims=(8,)), num_items).freeze(),
    ]
    block = np.arange(num_items) // 15
    same_II = (block[:, None] == block[None, :]).astype(np.float32)
    rows, columns = np.nonzero(same_II)
    knowing = ItemItem.of(
        torch.from_numpy(np.searchsorted(rows, np.arange(num_items + 1))),
        torch.from_numpy(columns),
        torch.ones(len(rows)),
    )
    fusion = choose_weights(deep, knowing, planted_split.valid)
    blind = ItemItem(num_items, 0)
    assert fusion.linear_weight > 0
    assert fusion.valid_ndcg > choose_weights(deep, blind, planted_split.valid).valid_ndcg + 0.2
