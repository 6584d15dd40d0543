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
from training.errors import BadInputError
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
        self.users = 0.0
        self._interrupt_after = interrupt_after

    def on_step(self, users: float) -> None:
        self.users += users

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


def test_settings_that_the_linear_parent_does_not_read_reach_the_deep_ones(
    dataset: Dataset,
) -> None:
    exact, sampled = (
        fit(config(epochs=1, negatives=negatives), dataset, Listener()) for negatives in (0, 7)
    )
    for parent in ("cdae", "multvae"):
        losses = [result.parent_reports[parent][0].loss for result in (exact, sampled)]
        assert losses[0] != losses[1]


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
    assert rest.parent_reports.keys() == whole.parent_reports.keys() == {"cdae", "multvae"}
    assert [report.epoch for report in rest.parent_reports["cdae"]] == [1, 2, 3]


def states(folder: Path) -> set[str]:
    return {path.parent.name for path in folder.rglob(STATE_FILE)}


def test_a_run_that_does_not_resume_begins_without_the_states_of_earlier_ones(
    dataset: Dataset, tmp_path: Path
) -> None:
    """Else a later --resume would go on with a parent of the new run and one of the old."""
    fit(config(epochs=3), dataset, Listener(), Resumable(tmp_path, "first", resume=False))
    assert states(tmp_path) == {".hybrid-cdae", ".hybrid-multvae"}
    (tmp_path / STATE_FILE).touch()  # of a run of one model
    second = Resumable(tmp_path, "second", resume=False)
    assert fit(config(epochs=4), dataset, Listener(interrupt_after=2), second).interrupted
    assert states(tmp_path) == {".hybrid-cdae"}
    resumed = fit(config(epochs=4), dataset, Listener(), Resumable(tmp_path, "second", resume=True))
    whole = fit(config(epochs=4), dataset, Listener())
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], tensor), name


def test_the_states_of_all_parents_are_checked_before_any_is_trained(
    dataset: Dataset, tmp_path: Path
) -> None:
    fit(config(epochs=2), dataset, Listener(), Resumable(tmp_path, "old", resume=False))
    (tmp_path / ".hybrid-cdae" / STATE_FILE).unlink()
    listener = Listener()
    with pytest.raises(BadInputError, match=r"hybrid-multvae.* run without --resume to begin anew"):
        fit(config(epochs=2), dataset, listener, Resumable(tmp_path, "new", resume=True))
    assert (listener.users, listener.reports) == (0, [])  # the linear parent comes first


def test_there_must_be_something_to_resume(dataset: Dataset, tmp_path: Path) -> None:
    listener = Listener()
    with pytest.raises(BadInputError, match="nothing to resume: no state of cdae or multvae in"):
        fit(config(), dataset, listener, Resumable(tmp_path, "run", resume=True))
    assert listener.users == 0


def test_the_curves_of_every_parent_are_kept_by_its_name(dataset: Dataset) -> None:
    listener = Listener()
    result = fit(config(epochs=3), dataset, listener)
    cdae, multvae = result.parent_reports["cdae"], result.parent_reports["multvae"]
    assert (*cdae, *multvae) == tuple(listener.reports)
    assert all(report.regularizer > 0 for report in multvae)
    assert (result.reports, result.best_epoch) == ((), 0)


def test_parents_of_one_architecture_are_told_apart(dataset: Dataset, tmp_path: Path) -> None:
    twins = [
        {"architecture": "cdae", "config": {"latent_dim": 8}},
        {"architecture": "cdae", "config": {"latent_dim": 5}},
    ]
    resumable = Resumable(tmp_path, "run", resume=False)
    made = config(parents=twins, epochs=2)
    part = fit(made, dataset, Listener(interrupt_after=4), resumable)
    assert part.interrupted
    assert states(tmp_path) == {".hybrid-cdae", ".hybrid-cdae-2"}
    result = fit(made, dataset, Listener(), Resumable(tmp_path, "run", resume=True))
    assert result.parent_reports.keys() == {"cdae", "cdae-2"}
    assert {"cdae", "cdae-2", "edlae"} == set(result.facts["weights"])


def test_who_watches_may_hear_which_parent_is_trained(dataset: Dataset) -> None:
    class Attentive(Listener):
        def __init__(self) -> None:
            super().__init__()
            self.parts: list[tuple[str, int]] = []

        def on_part(self, name: str, epochs: int) -> None:
            self.parts.append((name, epochs))

    attentive = Attentive()
    fit(config(epochs=2), dataset, attentive)
    assert attentive.parts == [("edlae", 1), ("cdae", 2), ("multvae", 2)]


def test_ctrl_c_before_anything_is_trained_is_not_swallowed(dataset: Dataset) -> None:
    class Impatient(Listener):
        def on_step(self, users: float) -> None:
            if self.reports == [] and users < 150:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(config(batch_size=40), dataset, Impatient())


class StoppedIn(Listener):
    """Presses Ctrl-C at the first step of a part."""

    def __init__(self, part: str) -> None:
        super().__init__()
        self._stopped = part
        self._part = ""

    def on_part(self, name: str, epochs: int) -> None:
        del epochs
        self._part = name

    def on_step(self, users: float) -> None:
        super().on_step(users)
        if self._part == self._stopped:
            raise KeyboardInterrupt


def test_ctrl_c_before_the_first_epoch_of_a_parent_keeps_the_parents_before_it(
    dataset: Dataset,
) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(config(epochs=2), dataset, StoppedIn("cdae"))
    part = fit(config(epochs=2), dataset, StoppedIn("multvae"))
    assert part.interrupted
    assert part.parent_reports.keys() == {"cdae"}


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
