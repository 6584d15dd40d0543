"""What every model with a Gaussian posterior gives: its two numbers, and a KL a dimension."""

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from service.autoencoders import ARCHITECTURES
from service.autoencoders.layers import normalized
from service.autoencoders.variational import (
    LOG_VARIANCE_RANGE,
    VariationalAutoencoder,
    drawn,
    halves,
)
from service.checkpoint import build_model
from service.histories import History, HistoryBatch

NUM_ITEMS = 25
SHAPES = {
    "multvae": {"latent_dim": 5, "hidden_dims": (12, 7)},
    "betavae": {"latent_dim": 5, "hidden_dims": (12, 7)},
    "recvae": {"latent_dim": 5, "hidden_dim": 12, "num_layers": 3},
}


@pytest.fixture(params=sorted(SHAPES))
def model(request: pytest.FixtureRequest) -> VariationalAutoencoder:
    torch.manual_seed(1)
    model = build_model(request.param, SHAPES[request.param], NUM_ITEMS, 0)
    assert isinstance(model, VariationalAutoencoder)
    for parameter in model.parameters():  # biases start at zero and would hide much
        torch.nn.init.normal_(parameter, std=0.5)
    return model


def batch() -> HistoryBatch:
    return HistoryBatch.from_rows([History.of([3, 8, 20]), History.of([1], [7.0]), History.of([])])


def test_the_shapes_here_are_of_all_variational_models() -> None:
    found = {
        name
        for name, known in ARCHITECTURES.items()
        if issubclass(known.module, VariationalAutoencoder)
    }
    assert found == set(SHAPES)


def test_the_latent_is_the_mean_of_the_posterior_and_no_draw(model: VariationalAutoencoder) -> None:
    mean_BD, log_variance_BD = model.posterior_of(batch())
    assert mean_BD.shape == log_variance_BD.shape == (3, model.latent_dim)
    assert torch.equal(model.encode(batch()), mean_BD)
    assert log_variance_BD.std() > 0.01


def test_the_posterior_is_that_of_the_normalised_history(model: VariationalAutoencoder) -> None:
    expected = model.gaussian(normalized(batch()))
    for found_BD, expected_BD in zip(model.posterior_of(batch()), expected, strict=True):
        assert torch.equal(found_BD, expected_BD)
    scaled = batch().with_weights(batch().weight_N * 100)
    torch.testing.assert_close(model.posterior_of(scaled), model.posterior_of(batch()))


def test_a_frozen_model_gives_both_numbers_in_single_precision(
    model: VariationalAutoencoder,
) -> None:
    before = model.posterior_of(batch())
    after = model.freeze().posterior_of(batch())
    assert {part.dtype for part in after} == {torch.float32}
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-5)


def test_the_kl_of_a_dimension_is_the_mean_over_users(model: VariationalAutoencoder) -> None:
    mean_BD, log_variance_BD = model.posterior_of(batch())
    q = Normal(mean_BD, (0.5 * log_variance_BD).exp())
    prior = Normal(torch.zeros_like(mean_BD), torch.ones_like(mean_BD))
    expected_D = kl_divergence(q, prior).mean(dim=0)
    torch.testing.assert_close(model.kl_per_dimension(batch()), expected_D, atol=1e-5, rtol=1e-5)


def test_a_draw_has_the_spread_of_sigma_and_carries_gradients() -> None:
    mean_BD = torch.tensor([[0.0, 3.0]]).repeat(20_000, 1).requires_grad_()
    log_variance_BD = torch.tensor([[0.0, -2.0]]).repeat(20_000, 1).requires_grad_()
    z_BD = drawn(mean_BD, log_variance_BD, torch.Generator().manual_seed(0))
    torch.testing.assert_close(z_BD.mean(dim=0), torch.tensor([0.0, 3.0]), atol=0.03, rtol=0)
    expected_D = torch.tensor([1.0, 0.36788])  # e^-1
    torch.testing.assert_close(z_BD.std(dim=0), expected_D, atol=0, rtol=0.03)
    torch.autograd.backward(z_BD.sum())
    noise_BD = (z_BD - mean_BD) / (0.5 * log_variance_BD).exp()
    assert mean_BD.grad is not None
    assert log_variance_BD.grad is not None
    assert torch.equal(mean_BD.grad, torch.ones_like(mean_BD))
    expected_BD = 0.5 * noise_BD * (0.5 * log_variance_BD).exp()
    torch.testing.assert_close(log_variance_BD.grad, expected_BD.detach())


def test_a_draw_repeats_with_its_generator() -> None:
    zeros_BD = torch.zeros(3, 4)
    first, second, other = (
        drawn(zeros_BD, zeros_BD, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_a_variance_out_of_all_bounds_is_clamped() -> None:
    both_BD = torch.tensor([[5.0, -5.0, 1e9, -1e9]])
    mean_BD, log_variance_BD = halves(both_BD)
    assert mean_BD.tolist() == [[5.0, -5.0]]
    assert log_variance_BD.tolist() == [[LOG_VARIANCE_RANGE[1], LOG_VARIANCE_RANGE[0]]]
