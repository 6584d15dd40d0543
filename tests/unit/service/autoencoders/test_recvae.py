"""RecVAE equals the dense textbook, in both of its phases, in value and in gradient."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from service.autoencoders.recvae import RecVAE, RecVAEConfig, composite_prior
from service.histories import History, HistoryBatch
from training.losses import multinomial

NUM_ITEMS = 19
GAMMA = 0.01
DROPOUT = 0.4
Weights = dict[str, Tensor]


@pytest.fixture
def model() -> RecVAE:
    torch.manual_seed(3)
    config = RecVAEConfig(latent_dim=4, hidden_dim=9, num_layers=5, dropout=DROPOUT)
    return randomized(RecVAE(config, NUM_ITEMS).double())


def randomized(model: RecVAE) -> RecVAE:
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model


def batch() -> HistoryBatch:
    rows = [[3, 8, 17, 2], [1, 5], list(range(12)), [18]]
    plain = HistoryBatch.from_rows([History.of(row) for row in rows])
    return plain.with_weights(plain.weight_N.double())


def dense(histories: HistoryBatch) -> Tensor:
    matrix_BI = torch.zeros(len(histories), NUM_ITEMS, dtype=torch.float64)
    matrix_BI[histories.row_N, histories.item_index_N] = histories.weight_N
    return matrix_BI


def textbook_encoder(weights: Weights, x_BI: Tensor) -> tuple[Tensor, Tensor]:
    """Five layers written out: every one is added to all that follow."""

    def layer(number: int, before_BH: Tensor) -> Tensor:
        weight, bias = (weights[f"encoder.inner.{number}.{part}"] for part in ("weight", "bias"))
        return before_BH @ weight.T + bias

    def norm(number: int, value_BH: Tensor) -> Tensor:
        swish_BH = value_BH * torch.sigmoid(value_BH)
        mean_B1 = swish_BH.mean(dim=1, keepdim=True)
        variance_B1 = (swish_BH - mean_B1).square().mean(dim=1, keepdim=True)
        scale, shift = (weights[f"encoder.norms.{number}.{part}"] for part in ("weight", "bias"))
        return (swish_BH - mean_B1) / (variance_B1 + 0.1).sqrt() * scale + shift

    h1 = norm(0, x_BI @ weights["encoder.input.weight_IH"] + weights["encoder.input.bias_H"])
    h2 = norm(1, layer(0, h1) + h1)
    h3 = norm(2, layer(1, h2) + h1 + h2)
    h4 = norm(3, layer(2, h3) + h1 + h2 + h3)
    h5 = norm(4, layer(3, h4) + h1 + h2 + h3 + h4)
    both = h5 @ weights["encoder.posterior.weight"].T + weights["encoder.posterior.bias"]
    return both[:, :4], both[:, 4:]


def textbook_loss(
    weights: Weights, earlier: Weights, histories: HistoryBatch, seed: int, dropout: float
) -> tuple[Tensor, Tensor]:
    """Loss and KL term of each user, on dense rows, with the chance of the model's generator."""
    generator = torch.Generator().manual_seed(seed)
    x_BI = dense(histories)
    whole_BI = functional.normalize(x_BI, dim=1)
    shown_BI = whole_BI
    if dropout:
        kept_N = torch.rand(len(histories.weight_N), generator=generator) >= dropout
        shown_BI = whole_BI * dense(histories.with_weights(kept_N.double())) / (1 - dropout)
    mean_BD, log_variance_BD = textbook_encoder(weights, shown_BI)
    noise_BD = torch.randn(mean_BD.shape, generator=generator, dtype=torch.float64)
    sigma_BD = log_variance_BD.exp().sqrt()
    z_BD = mean_BD + sigma_BD * noise_BD
    earlier_mean_BD, earlier_log_variance_BD = textbook_encoder(earlier, whole_BI)
    zeros_BD = torch.zeros_like(mean_BD)
    log_prior_BD = (
        0.15 * density(z_BD, zeros_BD, zeros_BD + 1)
        + 0.75 * density(z_BD, earlier_mean_BD, earlier_log_variance_BD.exp().sqrt())
        + 0.10 * density(z_BD, zeros_BD, zeros_BD + math.exp(5))
    ).log()
    log_q_BD = density(z_BD, mean_BD, sigma_BD).log()
    kl_term_B = (x_BI > 0).sum(dim=1) * (log_q_BD - log_prior_BD).sum(dim=1)
    score_BI = z_BD @ weights["item_vectors_IH"].T + weights["item_bias_I"]
    likelihood_B = (x_BI * functional.log_softmax(score_BI, dim=1)).sum(dim=1)
    return -likelihood_B + GAMMA * kl_term_B, kl_term_B


def density(z_BD: Tensor, mean_BD: Tensor, sigma_BD: Tensor) -> Tensor:
    distance_BD = (z_BD - mean_BD) / sigma_BD
    return torch.exp(-0.5 * distance_BD.square()) / (sigma_BD * math.sqrt(2 * math.pi))


def leaves(model: RecVAE) -> Weights:
    return {name: value.clone().requires_grad_() for name, value in model.state_dict().items()}


@pytest.mark.parametrize(("phase", "dropout"), [("encoder", DROPOUT), ("decoder", 0.0)])
def test_a_step_of_either_phase_has_the_textbook_value_and_gradient(
    model: RecVAE, phase: str, dropout: float
) -> None:
    earlier = leaves(model)
    model.start_phase(phase)
    if phase == "encoder":
        randomized(model)  # as if the encoder had moved on since the copy was taken
    noisy = model.training_pass(batch(), torch.Generator().manual_seed(5))
    loss_B = multinomial(noisy.query_BH, model, batch()) + GAMMA * noisy.regularizer_B
    weights = leaves(model)
    expected_B, kl_term_B = textbook_loss(weights, earlier, batch(), 5, dropout)
    torch.testing.assert_close(noisy.regularizer_B, kl_term_B, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(loss_B, expected_B, rtol=1e-9, atol=1e-9)
    trained = next(found for found in model.phases() if found.name == phase).parameters
    names = {id(value): name for name, value in model.named_parameters()}
    expected = torch.autograd.grad(
        expected_B.mean(), [weights[names[id(parameter)]] for parameter in trained]
    )
    torch.autograd.backward(loss_B.mean(), inputs=trained)
    for parameter, gradient in zip(trained, expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-7, atol=1e-9)


def test_the_prior_is_the_mixture_of_three_normal_distributions() -> None:
    generator = torch.Generator().manual_seed(0)
    z_BD, mean_BD, log_variance_BD = torch.randn(3, 50, 4, generator=generator).double() * 4
    expected_BD = (
        0.15 * density(z_BD, torch.zeros_like(z_BD), torch.ones_like(z_BD))
        + 0.75 * density(z_BD, mean_BD, (0.5 * log_variance_BD).exp())
        + 0.10 * density(z_BD, torch.zeros_like(z_BD), torch.full_like(z_BD, math.exp(5)))
    ).log()
    found_BD = composite_prior(z_BD, mean_BD, log_variance_BD) - 0.5 * math.log(2 * math.pi)
    torch.testing.assert_close(found_BD, expected_BD, rtol=1e-9, atol=1e-9)


def test_the_density_of_the_prior_sums_to_one() -> None:
    z_BD = torch.linspace(-2000, 2000, 2_000_001, dtype=torch.float64)[:, None]
    found_BD = composite_prior(z_BD, torch.full((1, 1), 3.0), torch.full((1, 1), -4.0)).exp()
    total = torch.trapezoid(found_BD[:, 0], z_BD[:, 0]) / math.sqrt(2 * math.pi)
    assert total.item() == pytest.approx(1, abs=1e-6)


def test_a_far_away_latent_has_a_finite_price_and_gradient() -> None:
    z_BD = torch.full((1, 1), 1e4, requires_grad=True)
    found_BD = composite_prior(z_BD, torch.zeros(1, 1), torch.full((1, 1), -12.0))
    torch.autograd.backward(found_BD.sum())
    assert found_BD.isfinite().all()
    assert z_BD.grad is not None
    assert z_BD.grad.isfinite().all()


def test_noise_has_the_scale_of_sigma(model: RecVAE) -> None:
    model.start_phase("decoder")  # no dropout: every row has the same posterior
    many = HistoryBatch.from_rows([History.of([1, 2, 3])] * 20_000)
    mean_BD, log_variance_BD = model.posterior_of(many)
    z_BD = model.training_pass(many, torch.Generator().manual_seed(0)).query_BH
    expected_D = (0.5 * log_variance_BD[0]).exp()
    torch.testing.assert_close(z_BD.std(dim=0), expected_D, rtol=0.03, atol=0)
    torch.testing.assert_close(z_BD.mean(dim=0), mean_BD[0], rtol=0, atol=0.04)


def test_the_phases_share_all_parameters_out(model: RecVAE) -> None:
    encoder, decoder = model.phases()
    assert (encoder.name, encoder.passes) == ("encoder", 3)
    assert (decoder.name, decoder.passes) == ("decoder", 1)
    shared_out = [id(parameter) for parameter in (*encoder.parameters, *decoder.parameters)]
    assert sorted(shared_out) == sorted(id(parameter) for parameter in model.parameters())
    assert decoder.parameters == (model.item_vectors_IH, model.item_bias_I)


def test_the_copy_of_the_encoder_is_no_part_of_the_weights(model: RecVAE) -> None:
    names, count = list(model.state_dict()), len(list(model.parameters()))
    model.start_phase("encoder")
    assert list(model.state_dict()) == names
    assert len(list(model.parameters())) == count


def test_the_copy_lives_as_long_as_the_encoders_passes(model: RecVAE) -> None:
    def kl_term() -> Tensor:
        return model.training_pass(batch(), torch.Generator().manual_seed(1)).regularizer_B

    model.start_phase("encoder")
    randomized(model)
    against_the_copy = kl_term()
    model.start_phase("encoder")
    assert not torch.allclose(kl_term(), against_the_copy)
    model.start_phase("decoder")
    assert model._earlier == ()


def test_gradients_of_the_encoder_do_not_reach_the_copy(model: RecVAE) -> None:
    model.start_phase("encoder")
    noisy = model.training_pass(batch(), torch.Generator().manual_seed(1))
    torch.autograd.backward(noisy.regularizer_B.mean())
    (copy,) = model._earlier
    assert all(value.grad is None for value in copy.parameters())


def test_only_the_encoders_passes_hide_entries(model: RecVAE) -> None:
    full = HistoryBatch.from_rows([History.of(list(range(NUM_ITEMS)))] * 50)
    with torch.no_grad():
        for parameter in model.encoder.posterior.parameters():
            parameter[4:] = 0
        model.encoder.posterior.bias[4:] = -12  # next to no noise: what is left is dropout
    spread = {}
    for phase in ("encoder", "decoder"):
        model.start_phase(phase)
        query_BH = model.training_pass(full, torch.Generator().manual_seed(2)).query_BH
        spread[phase] = query_BH.std(dim=0).mean().item()
    assert spread["decoder"] < 0.005  # sigma is e^-6 = 0.0025
    assert spread["encoder"] > 0.015


def test_scores_are_linear_in_the_latent(model: RecVAE) -> None:
    latents_BD = torch.randn(3, 4, dtype=torch.float64)
    assert torch.equal(model.queries(latents_BD), latents_BD)


def test_one_layer_will_do() -> None:
    torch.manual_seed(0)
    single = RecVAE(RecVAEConfig(latent_dim=3, hidden_dim=6, num_layers=1), NUM_ITEMS)
    assert single.encode(HistoryBatch.from_rows([History.of([1])])).shape == (1, 3)
