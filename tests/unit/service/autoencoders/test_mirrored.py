"""Every plain deep autoencoder equals its dense textbook version, in value and in gradient."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from service.autoencoders.mirrored import MirroredAutoencoder
from service.checkpoint import build_model
from service.histories import History, HistoryBatch

NUM_ITEMS = 25


def selu(x: Tensor) -> Tensor:
    """Klambauer et al. (2017), section 2, with their lambda and alpha."""
    below = 1.6732632423543772 * (torch.exp(x) - 1)
    return 1.0507009873554805 * torch.where(x > 0, x, below)


BY_HAND: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "sigmoid": lambda x: 1 / (1 + torch.exp(-x)),
    "relu": lambda x: x.clamp(min=0),
    "selu": selu,
}
CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("autoencoder", name, {"activation": name, "hidden_dims": (12, 7), "dropout": 0})
    for name in BY_HAND
]
CASES += [
    ("autoencoder", "tanh", {"hidden_dims": (), "dropout": 0}),
    ("dae", "selu", {"hidden_dims": (12, 7), "corruption": 0}),
    ("dae", "selu", {"hidden_dims": (), "corruption": 0}),
    ("multdae", "tanh", {"dropout": 0}),
    ("multdae", "tanh", {"hidden_dims": (9,), "dropout": 0}),
]


def built(name: str, config: dict[str, Any]) -> MirroredAutoencoder:
    torch.manual_seed(1)
    model = build_model(name, {"latent_dim": 5, **config}, NUM_ITEMS, 0).double()
    assert isinstance(model, MirroredAutoencoder)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    return model


def batch() -> HistoryBatch:
    return HistoryBatch.from_rows(
        [History.of([3, 8, 20], [1.0, 2.0, 0.5]), History.of([1]), History.of([])]
    )


def dense(histories: HistoryBatch) -> Tensor:
    matrix_BI = torch.zeros(len(histories), NUM_ITEMS, dtype=torch.float64)
    matrix_BI[histories.row_N, histories.item_index_N] = histories.weight_N.double()
    return matrix_BI


def textbook(model: MirroredAutoencoder, activation: str, x_BI: Tensor) -> tuple[Tensor, Tensor]:
    """Compute code and scores the dense way, out of the raw weights."""
    act = BY_HAND[activation]
    hidden = act(functional.normalize(x_BI, dim=1) @ model.input.weight_IH + model.input.bias_H)
    for layer in linear_layers(model.encoder):
        hidden = act(hidden @ layer.weight.T + layer.bias)
    code_BD = hidden
    for layer in linear_layers(model.decoder):
        hidden = act(hidden @ layer.weight.T + layer.bias)
    return code_BD, hidden @ model.item_vectors_IH.T + model.item_bias_I


def linear_layers(stack: nn.Sequential) -> list[nn.Linear]:
    return [layer for layer in stack if isinstance(layer, nn.Linear)]


@pytest.mark.parametrize(("name", "activation", "config"), CASES)
def test_code_scores_and_gradients_are_those_of_the_textbook(
    name: str, activation: str, config: dict[str, Any]
) -> None:
    model = built(name, config)
    code_BD, score_BI = textbook(model, activation, dense(batch()))
    torch.testing.assert_close(model.encode(batch()), code_BD, atol=1e-6, rtol=1e-6)
    query_BH = model.training_pass(batch(), torch.Generator()).query_BH
    found_BI = query_BH @ model.item_vectors_IH.T + model.item_bias_I
    torch.testing.assert_close(found_BI, score_BI, atol=1e-6, rtol=1e-6)
    probe_BI = torch.randn(score_BI.shape, dtype=torch.float64)
    parameters = tuple(model.parameters())
    found = torch.autograd.grad((found_BI * probe_BI).sum(), parameters)
    expected = torch.autograd.grad((score_BI * probe_BI).sum(), parameters)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("name", "activation", "config"), CASES)
def test_there_is_no_layer_that_the_shape_does_not_name(
    name: str, activation: str, config: dict[str, Any]
) -> None:
    del activation
    model = built(name, config)
    hidden = len(model.config.hidden_dims)
    assert len(linear_layers(model.encoder)) == len(linear_layers(model.decoder)) == hidden
    assert model.item_vectors_IH.shape[1] == (*model.config.hidden_dims, 5)[0]


@pytest.mark.parametrize("name", ["autoencoder", "dae", "multdae"])
@pytest.mark.parametrize("hidden_dims", [(), (12,)])
def test_frozen_or_not_it_gives_latents_and_queries_of_the_tables_type(
    name: str, hidden_dims: tuple[int, ...]
) -> None:
    config = {"latent_dim": 5, "hidden_dims": hidden_dims}
    model = build_model(name, config, NUM_ITEMS, 0)
    loose_BD = model.encode(batch())
    frozen_BD = model.freeze().encode(batch())
    assert loose_BD.dtype == frozen_BD.dtype == model.queries(frozen_BD).dtype == torch.float32
    torch.testing.assert_close(loose_BD, frozen_BD)


@pytest.mark.parametrize("name", ["autoencoder", "dae", "multdae"])
def test_nothing_is_regularised(name: str) -> None:
    noisy = built(name, {}).training_pass(batch(), torch.Generator())
    assert torch.equal(noisy.regularizer_B, torch.zeros(3, dtype=torch.float64))
