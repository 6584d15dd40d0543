"""Layers that the architectures share: sparse input, sparse noise, the fully connected stack."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Final, Literal, final

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from service.autoencoders.noise import entry_noise, row_noise
from service.histories import NORM_EPSILON, HistoryBatch

Activation = Literal["tanh", "sigmoid", "relu", "selu"]
ACTIVATIONS: Final[Mapping[Activation, Callable[[], nn.Module]]] = {
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "relu": nn.ReLU,
    "selu": nn.SELU,
}


@final
class SparseLinear(nn.Module):
    """A linear layer over CSR rows: equal to ``dense_BI @ weight_IH + bias_H``, without dense_BI.

    At 20,000 items and 100 entries a history this reads 100 rows of the matrix instead of all.
    """

    def __init__(self, num_items: int, out_dim: int) -> None:
        super().__init__()
        self.weight_IH = nn.Parameter(torch.empty(num_items, out_dim))
        self.bias_H = nn.Parameter(torch.zeros(out_dim))
        nn.init.xavier_uniform_(self.weight_IH)

    def forward(self, histories: HistoryBatch) -> Tensor:
        """Sum the weighted rows of each history's items, [N] entries -> [B, H]."""
        bag_BH = functional.embedding_bag(
            histories.item_index_N,
            self.weight_IH,
            histories.offset_B1,
            mode="sum",
            per_sample_weights=histories.weight_N.to(self.weight_IH.dtype),
            include_last_offset=True,
        )
        return bag_BH + self.bias_H


def normalized(histories: HistoryBatch) -> HistoryBatch:
    """Scale each history to unit L2 norm; an empty one stays empty."""
    if histories.unit_weight_N is not None:
        return histories.with_weights(histories.unit_weight_N)
    norm_B = histories.sum_per_row(histories.weight_N.square()).sqrt_().add_(float(NORM_EPSILON))
    return histories.with_weights(histories.weight_N / histories.per_entry(norm_B))


def dropped(histories: HistoryBatch, rate: float, generator: Generator) -> HistoryBatch:
    """Input dropout: lose observed entries at random and scale the others by 1 / (1 - rate).

    The same as dropout on the dense row, since dropping a zero changes nothing.
    """
    if rate == 0:
        return histories
    chance_N = entry_noise(torch.rand, len(histories.weight_N), generator)
    kept_N = (chance_N >= rate).to(histories.weight_N.dtype)
    return histories.with_weights(histories.weight_N * kept_N / (1 - rate))


def hidden_dropout(value_BD: Tensor, rate: float, generator: Generator) -> Tensor:
    """Dropout on a dense layer: zero a share of it, scale the rest by 1 / (1 - rate)."""
    if rate == 0:
        return value_BD
    chance_BD = row_noise(torch.rand, value_BD.shape, generator)
    return value_BD * (chance_BD >= rate).to(value_BD.dtype) / (1 - rate)


def tanh_stack(dims: Sequence[int]) -> nn.Sequential:
    """Chain linear layers ``dims[0] -> dims[1] -> ...``, each followed by tanh."""
    return activated_stack(dims, "tanh")


def activated_stack(dims: Sequence[int], activation: Activation) -> nn.Sequential:
    """Chain linear layers ``dims[0] -> dims[1] -> ...``, each followed by the activation."""
    layers: list[nn.Module] = []
    for in_dim, out_dim in pairwise(dims):
        layers += [xavier_linear(in_dim, out_dim), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers)


def xavier_linear(in_dim: int, out_dim: int) -> nn.Linear:
    """Make a linear layer with Glorot weights and zero bias, as Liang et al. (2018) start."""
    layer = nn.Linear(in_dim, out_dim)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
