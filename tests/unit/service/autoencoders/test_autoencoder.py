import pytest
import torch

from service.autoencoders.autoencoder import DeepAutoencoder, DeepAutoencoderConfig
from service.histories import History, HistoryBatch


def test_training_hides_a_share_of_the_code_and_keeps_its_mean() -> None:
    torch.manual_seed(0)
    config = DeepAutoencoderConfig(latent_dim=6, hidden_dims=(), dropout=0.3)
    model = DeepAutoencoder(config, num_items=10)  # without hidden layers the code is the query
    many = HistoryBatch.from_rows([History.of([1, 4, 8])] * 5000)
    query_BH = model.training_pass(many, torch.Generator().manual_seed(0)).query_BH
    assert (query_BH == 0).float().mean().item() == pytest.approx(0.3, abs=0.01)
    torch.testing.assert_close(query_BH.mean(dim=0), model.encode(many)[0], rtol=0.05, atol=0)


def test_the_input_is_shown_as_it_is() -> None:
    torch.manual_seed(0)
    bare = DeepAutoencoder(DeepAutoencoderConfig(latent_dim=6, dropout=0), num_items=10)
    batch = HistoryBatch.from_rows([History.of([1, 4, 8])])
    query_BH = bare.training_pass(batch, torch.Generator().manual_seed(0)).query_BH
    assert torch.equal(query_BH, bare.queries(bare.encode(batch)))
