import torch

from service.autoencoders.betavae import BetaVAE, BetaVAEConfig
from service.autoencoders.multvae import MultVAE, MultVAEConfig
from service.histories import History, HistoryBatch

NUM_ITEMS = 25


def test_it_is_the_network_of_mult_vae_whose_beta_is_a_matter_of_training() -> None:
    torch.manual_seed(0)
    mult = MultVAE(MultVAEConfig(latent_dim=5, hidden_dims=(12, 7), dropout=0.4), NUM_ITEMS)
    beta = BetaVAE(BetaVAEConfig(latent_dim=5, hidden_dims=(12, 7), dropout=0.4), NUM_ITEMS)
    beta.load_state_dict(mult.state_dict())
    batch = HistoryBatch.from_rows([History.of([3, 8, 20]), History.of([1])])
    found, expected = (
        model.training_pass(batch, torch.Generator().manual_seed(1)) for model in (beta, mult)
    )
    assert torch.equal(found.query_BH, expected.query_BH)
    assert torch.equal(found.regularizer_B, expected.regularizer_B)
    assert torch.equal(beta.encode(batch), mult.encode(batch))
