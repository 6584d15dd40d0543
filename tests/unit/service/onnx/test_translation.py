from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from service.onnx.graph import OnnxGraph
from service.onnx.session import open_session
from service.onnx.translation import UntranslatableError, is_identity, translate


class Doing(nn.Module):
    """Applies a function; its layers are where a trace finds them."""

    def __init__(self, function: Callable[[Tensor], Tensor], *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.function = function

    def forward(self, value_BX: Tensor) -> Tensor:
        return self.function(value_BX)


def translated(module: nn.Module, value_BX: Tensor) -> Tensor:
    op = OnnxGraph()
    output = translate(fx.Tracer().trace(module), module, op, "value_BX")
    dtype = value_BX.numpy().dtype.type
    graph = op.serialized({"value_BX": (dtype, ("B", value_BX.shape[1]))}, {"y": (output, dtype)})
    return torch.from_numpy(open_session(graph, 1).run(None, {"value_BX": value_BX.numpy()})[0])


@pytest.fixture
def value_BX() -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(5, 6)) * 3)


@pytest.mark.parametrize(
    "layer",
    [nn.Linear(6, 4), nn.LayerNorm(6), nn.Tanh(), nn.Sigmoid(), nn.ReLU(), nn.SELU()],
    ids=lambda layer: type(layer).__name__,
)
def test_a_layer_in_float64_gives_what_torch_gives(layer: nn.Module, value_BX: Tensor) -> None:
    layer.double().requires_grad_(requires_grad=False)
    found = translated(nn.Sequential(layer), value_BX)
    torch.testing.assert_close(found, layer(value_BX), rtol=1e-12, atol=1e-12)


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": functional.silu,
    "tanh": torch.tanh,
    "sum": lambda value_BX: value_BX + value_BX,
    "first half": lambda value_BX: value_BX.chunk(2, dim=1)[0],
    "parts": lambda value_BX: torch.cat(torch.split(value_BX, [1, 5], dim=1)[::-1], dim=1),
    "casts": lambda value_BX: value_BX.to(torch.float32).double(),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_gives_what_torch_gives(name: str, value_BX: Tensor) -> None:
    module = Doing(FUNCTIONS[name])
    found = translated(module, value_BX)
    torch.testing.assert_close(found, module(value_BX), rtol=1e-12, atol=1e-12)


def test_what_is_not_known_is_named() -> None:
    with pytest.raises(UntranslatableError, match="cos"):
        translated(Doing(torch.cos), torch.ones(1, 1))
    with pytest.raises(UntranslatableError, match="Softplus"):
        translated(nn.Sequential(nn.Softplus()), torch.ones(1, 1))


def test_only_what_gives_its_input_back_is_the_identity() -> None:
    assert is_identity(fx.Tracer().trace(nn.Sequential()))
    assert not is_identity(fx.Tracer().trace(nn.Sequential(nn.Tanh())))
