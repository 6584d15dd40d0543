"""A hybrid is the weighted sum of its parents, and is searched as exactly as they are."""

from dataclasses import asdict

import numpy as np
import pytest
import torch
from torch import Tensor

from service.autoencoders.base import Autoencoder
from service.autoencoders.cdae import CDAE, CDAEConfig
from service.autoencoders.hybrid import Hybrid
from service.autoencoders.item_item import ItemItem
from service.autoencoders.multvae import MultVAE, MultVAEConfig
from service.checkpoint import build_model
from service.errors import CheckpointCorruptError
from service.histories import History, HistoryBatch
from service.ranker import ModelRanker
from service.retrieval.base import Wanted

NUM_ITEMS = 60
NUM_USERS = 5


def scores(model: Autoencoder, batch: HistoryBatch) -> Tensor:
    query_BH = model.queries(model.encode(batch)).double()
    return query_BH @ model.item_vectors_IH.T.double() + model.item_bias_I.double()


def random_matrix(generator: np.random.Generator) -> tuple[ItemItem, Tensor]:
    dense_II = generator.normal(size=(NUM_ITEMS, NUM_ITEMS))
    dense_II[generator.random(dense_II.shape) < 0.8] = 0
    rows, columns = np.nonzero(dense_II)
    weight_M = torch.from_numpy(dense_II[rows, columns]).float()
    offset_I1 = torch.from_numpy(np.searchsorted(rows, np.arange(NUM_ITEMS + 1)))
    made = ItemItem.of(offset_I1, torch.from_numpy(columns), weight_M)
    exact_II = torch.zeros(NUM_ITEMS, NUM_ITEMS, dtype=torch.float64)
    exact_II[rows, columns] = weight_M.double()
    return made, exact_II


def parents() -> list[Autoencoder]:
    torch.manual_seed(4)
    made: list[Autoencoder] = [
        CDAE(CDAEConfig(latent_dim=8), NUM_ITEMS, NUM_USERS),
        MultVAE(MultVAEConfig(latent_dim=4, hidden_dims=(12,)), NUM_ITEMS),
    ]
    for parent in made:
        for parameter in parent.parameters():
            torch.nn.init.normal_(parameter, std=0.4)
        parent.freeze()
    return made


@pytest.fixture
def batch() -> HistoryBatch:
    generator = np.random.default_rng(1)
    histories = [History.of(generator.choice(NUM_ITEMS, n, replace=False)) for n in (0, 1, 7, 30)]
    return HistoryBatch.from_rows(histories, [-1, 2, 0, -1])


def test_its_scores_are_the_weighted_sum_of_its_parents(batch: HistoryBatch) -> None:
    linear, dense_II = random_matrix(np.random.default_rng(2))
    history_BI = torch.zeros(len(batch), NUM_ITEMS, dtype=torch.float64)
    history_BI[batch.row_N, batch.item_index_N] = batch.weight_N.double()
    cdae, multvae = parents()
    expected_BI = scores(cdae, batch) + 0.5 * scores(multvae, batch) + 8 * history_BI @ dense_II
    model = Hybrid.of(parents(), (1.0, 0.5), linear, 8.0).freeze()
    assert model.linear is not None
    found_BI = scores(model, batch) + model.linear(batch)
    torch.testing.assert_close(found_BI, expected_BI, rtol=1e-5, atol=1e-5)


def test_its_lists_are_those_of_a_float64_brute_force(batch: HistoryBatch) -> None:
    linear, _ = random_matrix(np.random.default_rng(2))
    model = Hybrid.of(parents(), (1.0, 0.5), linear, 8.0).freeze()
    assert model.linear is not None
    score_BI = (scores(model, batch) + model.linear(batch)).float()
    hidden = [np.array([3, 5]), np.array([], dtype=np.int64)] * 2
    wanted = [Wanted(k, hidden_N) for k, hidden_N in zip((5, 60, 1, 58), hidden, strict=True)]
    for row, top in enumerate(ModelRanker(model).top_k(batch, wanted)):
        score_I = score_BI[row].clone()
        score_I[hidden[row]] = -torch.inf
        best_I = score_I.sort(descending=True, stable=True).indices[: len(top.item_index_K)]
        assert len(top.item_index_K) == min(wanted[row].k, NUM_ITEMS - len(hidden[row]))
        assert top.item_index_K.tolist() == best_I.tolist()


def test_a_list_does_not_depend_on_the_batch(batch: HistoryBatch) -> None:
    linear, _ = random_matrix(np.random.default_rng(2))
    ranker = ModelRanker(Hybrid.of(parents(), (1.0, 2.0), linear, 3.0).freeze())
    wanted = [Wanted(20, np.array([0]))] * len(batch)
    for row, top in enumerate(ranker.top_k(batch, wanted)):
        start, stop = batch.offset_B1[row : row + 2].tolist()
        alone = HistoryBatch.from_rows(
            [History.of(batch.item_index_N[start:stop].numpy())], [int(batch.user_index_B[row])]
        )
        (again,) = ranker.top_k(alone, wanted[:1])
        assert again.item_index_K.tolist() == top.item_index_K.tolist()
        assert again.score_K.tolist() == top.score_K.tolist()


def test_its_config_and_weights_rebuild_it(batch: HistoryBatch) -> None:
    linear, _ = random_matrix(np.random.default_rng(2))
    model = Hybrid.of(parents(), (1.0, 0.5), linear, 8.0)
    assert model.num_users == NUM_USERS
    assert model.latent_dim == 8 + 4
    with torch.device("meta"):
        again = build_model("hybrid", asdict(model.config), NUM_ITEMS, NUM_USERS)
    again.load_state_dict(model.state_dict(), assign=True)
    assert torch.equal(scores(again, batch), scores(model, batch))
    assert again.linear is not None
    assert model.linear is not None
    assert torch.equal(again.linear(batch), model.linear(batch))


def test_a_parent_that_is_none_is_refused() -> None:
    with pytest.raises(CheckpointCorruptError, match="'ease' cannot be a parent"):
        build_model("hybrid", {"parents": [{"architecture": "ease"}]}, NUM_ITEMS, 0)
