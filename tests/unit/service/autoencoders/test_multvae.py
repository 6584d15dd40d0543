import pytest
import torch
from torch.nn import functional

from service.autoencoders.multvae import MultVAE, MultVAEConfig
from service.histories import History, HistoryBatch

NUM_ITEMS = 25


@pytest.fixture
def model() -> MultVAE:
    torch.manual_seed(1)
    config = MultVAEConfig(latent_dim=5, hidden_dims=(12, 7), dropout=0.4)
    return MultVAE(config, NUM_ITEMS).double()


def batch() -> HistoryBatch:
    return HistoryBatch.from_rows([History.of([3, 8, 20]), History.of([1]), History.of([])])


def dense(histories: HistoryBatch) -> torch.Tensor:
    matrix_BI = torch.zeros(len(histories), NUM_ITEMS, dtype=torch.float64)
    matrix_BI[histories.row_N, histories.item_index_N] = histories.weight_N.double()
    return matrix_BI


def textbook_posterior(model: MultVAE, x_BI: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    x_BI = functional.normalize(x_BI, dim=1)
    hidden = torch.tanh(x_BI @ model.input.weight_IH + model.input.bias_H)
    hidden = torch.tanh(hidden @ model.encoder[1][0].weight.T + model.encoder[1][0].bias)  # type: ignore[index]  # an nn.Sequential is untyped inside
    both = hidden @ model.posterior.weight.T + model.posterior.bias
    return both[:, :5], both[:, 5:]


def test_the_latent_is_the_posterior_mean_of_the_textbook(model: MultVAE) -> None:
    mean_BD, _ = textbook_posterior(model, dense(batch()))
    torch.testing.assert_close(model.encode(batch()), mean_BD, atol=1e-6, rtol=1e-6)


def test_kl_is_summed_over_dimensions(model: MultVAE) -> None:
    model.eval()
    bare = MultVAE(MultVAEConfig(latent_dim=5, hidden_dims=(12, 7), dropout=0), NUM_ITEMS).double()
    bare.load_state_dict(model.state_dict())
    mean_BD, log_variance_BD = textbook_posterior(bare, dense(batch()))
    q = torch.distributions.Normal(mean_BD, (0.5 * log_variance_BD).exp())
    prior = torch.distributions.Normal(torch.zeros_like(mean_BD), torch.ones_like(mean_BD))
    expected_B = torch.distributions.kl_divergence(q, prior).sum(dim=1)
    found = bare.training_pass(batch(), torch.Generator().manual_seed(0))
    torch.testing.assert_close(found.regularizer_B, expected_B, atol=1e-6, rtol=1e-6)


def test_noise_has_the_scale_of_sigma() -> None:
    """Libraries have shipped a noise of 0.01 sigma, which makes a VAE a plain autoencoder."""
    torch.manual_seed(2)
    linear = MultVAE(MultVAEConfig(latent_dim=4, hidden_dims=(6,), dropout=0), NUM_ITEMS)
    many = HistoryBatch.from_rows([History.of([1, 2, 3])] * 20_000)
    mean_BD, log_variance_BD = linear.posterior_of(many)
    linear.decoder = torch.nn.Sequential()  # the query is z itself
    z_BD = linear.training_pass(many, torch.Generator().manual_seed(0)).query_BH
    expected = (0.5 * log_variance_BD[0]).exp()
    torch.testing.assert_close(z_BD.std(dim=0), expected, rtol=0.03, atol=0)
    torch.testing.assert_close(z_BD.mean(dim=0), mean_BD[0], rtol=0, atol=0.03)


def test_an_empty_history_gives_the_bias_and_no_nan(model: MultVAE) -> None:
    empty = HistoryBatch.from_rows([History.of([])])
    mean_BD, _ = textbook_posterior(model, torch.zeros(1, NUM_ITEMS, dtype=torch.float64))
    torch.testing.assert_close(model.encode(empty), mean_BD)
