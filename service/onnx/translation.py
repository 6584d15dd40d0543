"""Translates what ``torch.fx`` traced of frozen dense layers into ONNX."""

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import numpy as np
import torch
from torch import fx, nn
from torch.nn import functional

from service.onnx.graph import OnnxGraph

# Writes a layer or a function: its inputs are the names of values, lists of them, or plain numbers.
Write: TypeAlias = Callable[..., Any]

DTYPES: Final[Mapping[torch.dtype, type[np.generic]]] = {
    torch.float32: np.float32,
    torch.float64: np.float64,
}
# Klambauer et al., "Self-Normalizing Neural Networks", NeurIPS 2017 (arXiv:1706.02515).
SELU_ALPHA: Final = 1.6732632423543772
SELU_SCALE: Final = 1.0507009873554805


class UntranslatableError(Exception):
    """There is no translation for an operation."""


def is_identity(traced: fx.Graph) -> bool:
    """Tell whether the input is the output."""
    given, *rest = traced.nodes
    return len(rest) == 1 and rest[0].args == (given,)


def translate(traced: fx.Graph, module: nn.Module, op: OnnxGraph, given: str) -> str:
    """Write a traced module of one input; give the name of its output.

    Args:
        traced: The trace; what nothing uses is erased from it.
        module: What was traced, or its like: the weights are taken from here.
        op: Where to write.
        given: The name of the input.

    Raises:
        UntranslatableError: An operation is not known here.
    """
    _erase_unused(traced)
    values: dict[fx.Node, Any] = {}
    *nodes, output = traced.nodes
    for node in nodes:
        args = fx.map_arg(node.args, values.__getitem__)
        values[node] = given if node.op == "placeholder" else _value(module, op, node, args)
    return str(values[output.args[0]])


def _erase_unused(traced: fx.Graph) -> None:
    for node in reversed(traced.nodes):
        if not node.users and node.op not in {"placeholder", "output"}:
            traced.erase_node(node)


def _value(module: nn.Module, op: OnnxGraph, node: fx.Node, args: tuple[Any, ...]) -> Any:  # noqa: ANN401 - a name, a list of names, or a parameter's dtype
    if node.op == "get_attr":
        return operator.attrgetter(str(node.target))(module)
    if node.target is getattr:  # of a parameter: its dtype
        return getattr(*args)
    if node.op == "call_module":
        layer = module.get_submodule(str(node.target))
        return _known(LAYERS, type(layer))(op, layer, *args)
    return _known(FUNCTIONS, node.target)(op, *args, **node.kwargs)


def _known(known: Mapping[Any, Write], key: object) -> Write:
    write = known.get(key)
    if write is None:
        raise UntranslatableError(str(key))
    return write


def _linear(op: OnnxGraph, layer: nn.Linear, source: str) -> str:
    product = op("MatMul", source, op.constant(layer.weight.detach().numpy().T))
    return op("Add", product, op.constant(layer.bias.detach().numpy()))


def _layer_norm(op: OnnxGraph, layer: nn.LayerNorm, source: str) -> str:
    scale, shift = (op.constant(part.detach().numpy()) for part in (layer.weight, layer.bias))
    return op("LayerNormalization", source, scale, shift, axis=-1, epsilon=layer.eps)


def _selu(op: OnnxGraph, source: str) -> str:
    # onnxruntime's own is for float32 only. Without a dense layer before it, what comes is float32.
    source = op.cast(source, np.float64)
    numbers = (op.constant(np.float64(number)) for number in (0, 1, SELU_ALPHA, SELU_SCALE))
    zero, one, alpha, scale = numbers
    below = op("Mul", alpha, op("Sub", op("Exp", op("Min", source, zero)), one))
    return op("Mul", scale, op("Add", op("Max", source, zero), below))


def _silu(op: OnnxGraph, source: str, *, inplace: bool) -> str:
    del inplace  # values of a graph have names, not places
    return op("Mul", source, op("Sigmoid", source))


def _cast(op: OnnxGraph, source: str, dtype: torch.dtype) -> str:
    return op.cast(source, DTYPES[dtype])


def _chunks(op: OnnxGraph, source: str, chunks: int, dim: int) -> list[str]:
    return op.outputs("Split", source, count=chunks, axis=dim, num_outputs=chunks)


def _parts(op: OnnxGraph, source: str, sizes: list[int], dim: int) -> list[str]:
    return op.outputs("Split", source, op.integers(*sizes), count=len(sizes), axis=dim)


def _joined(op: OnnxGraph, parts: list[str], dim: int) -> str:
    return op("Concat", *parts, axis=dim)


LAYERS: Final[Mapping[type[nn.Module], Write]] = {
    nn.Linear: _linear,
    nn.LayerNorm: _layer_norm,
    nn.Tanh: lambda op, _, source: op("Tanh", source),
    nn.Sigmoid: lambda op, _, source: op("Sigmoid", source),
    nn.ReLU: lambda op, _, source: op("Relu", source),
    nn.SELU: lambda op, _, source: _selu(op, source),
}
# Methods by their names.
FUNCTIONS: Final[Mapping[Any, Write]] = {
    "to": _cast,
    "double": lambda op, source: _cast(op, source, torch.float64),
    "chunk": _chunks,
    torch.split: _parts,
    torch.cat: _joined,
    torch.tanh: lambda op, source: op("Tanh", source),
    functional.silu: _silu,
    operator.add: lambda op, one, other: op("Add", one, other),
    operator.getitem: lambda _, parts, position: parts[position],
}
