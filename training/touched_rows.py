"""The rows of large tables that a batch touches, as a small model of their own.

With a sampled loss a step reads the rows of the batch's items, of its users, and of the negatives:
a few thousand of perhaps a million. They are copied into a model that has no others, whose
gradients are as small, and ``RowAdam`` moves them in the tables.
"""

import copy
from collections.abc import Collection, Mapping
from typing import Final, final

import torch
from torch import Tensor, nn

from service.autoencoders.base import Autoencoder, TrainableAutoencoder
from service.histories import HistoryBatch
from training.config import TrainingConfig
from training.losses import Loss
from training.negatives import Negatives, SampledObjective
from training.optimizers import RowAdam

INPUT: Final = "input.weight_IH"
OUTPUT: Final = ("item_vectors_IH", "item_bias_I")
USERS: Final = "user_rows_UD"
# Models whose items and users are rows of these tables, and read from nowhere else in training,
# each with those that it has. Others have one table at both ends (elsa), a copy of the encoder in
# the loss (recvae), or draw items by chance that nobody asked for (dae, salt and pepper).
TABLES: Final[Mapping[str, tuple[str, ...]]] = {
    "multvae": (INPUT, *OUTPUT),
    "betavae": (INPUT, *OUTPUT),
    "multdae": (INPUT, *OUTPUT),
    "autoencoder": (INPUT, *OUTPUT),
    "cdae": (INPUT, USERS, *OUTPUT),
}


def row_tables(config: TrainingConfig, model: nn.Module) -> dict[str, nn.Parameter]:
    """Give the tables of a model that a run moves row by row, by name; none where it cannot."""
    if not config.negatives or config.weight_decay or config.row_updates == "dense":
        return {}
    return {name: model.get_parameter(name) for name in TABLES.get(config.model, ())}


@final
class TouchedRows:
    """Makes the small model of each batch.

    Attributes:
        model: The small model: shares what is no table with the whole one.
    """

    def __init__(
        self,
        model: TrainableAutoencoder,
        tables: Mapping[str, nn.Parameter],
        optimizer: RowAdam,
        objective: SampledObjective,
    ) -> None:
        shared: dict[int, object] = {id(each): each for each in model.parameters()}
        self.model = copy.deepcopy(model, shared)
        self._tables = tables
        self._optimizer = optimizer
        self._objective = objective
        self._own_R = torch.empty(0, dtype=torch.int64)

    def parameters(self) -> tuple[nn.Parameter, ...]:
        """Give what the last batch has gradients for: its rows, and what is no table."""
        return tuple(self.model.parameters())

    def catch_up(self) -> None:
        """Bring all rows of the whole model up to date."""
        self._optimizer.catch_up()

    def enter(self, histories: HistoryBatch) -> HistoryBatch:
        """Take the rows that a batch reads, give the batch in the indices of the small model.

        The small model's items are those of the batch, and its users the rows of the batch.
        """
        self._own_R, item_N = torch.unique(histories.item_index_N, return_inverse=True)
        self._take(INPUT, self._own_R)
        users = histories.user_index_B
        if USERS in self._tables:
            self._take(USERS, users)
            users = torch.arange(len(users), device=users.device)
        return HistoryBatch(item_N, histories.weight_N, histories.offset_B1, users)

    def loss(self, query_BH: Tensor, model: Autoencoder, targets: HistoryBatch) -> Tensor:
        """Draw negatives, take the rows that these and the batch's items read, and compute, [B].

        Args:
            query_BH: The last hidden layer.
            model: The small one.
            targets: What ``enter`` gave.
        """
        drawn = self._objective.draw()
        touched_R = torch.unique(torch.cat((self._own_R, drawn.item_index_M)))
        for name in OUTPUT:
            self._take(name, touched_R)
        # Ranks keep the order: entries stay sorted within their rows, and so do the draws.
        own_R = torch.searchsorted(touched_R, self._own_R)
        among = HistoryBatch(
            own_R[targets.item_index_N], targets.weight_N, targets.offset_B1, targets.user_index_B
        )
        place_M = torch.searchsorted(touched_R, drawn.item_index_M)
        negatives = Negatives(place_M, drawn.log_expected_M)
        return self._objective.formula(query_BH, model, among, negatives)

    def _take(self, name: str, row_R: Tensor) -> None:
        leaf = self._optimizer.gather(self._tables[name], row_R)
        path, _, last = name.rpartition(".")
        setattr(self.model.get_submodule(path), last, leaf)


def touched_rows(
    model: TrainableAutoencoder,
    loss: Loss,
    optimizers: Collection[torch.optim.Optimizer],
    config: TrainingConfig,
) -> TouchedRows | None:
    """Make what finds the rows of a batch, for a run whose optimiser goes by rows; else None."""
    optimizer = next(iter(optimizers))
    if isinstance(optimizer, RowAdam) and isinstance(loss, SampledObjective):
        return TouchedRows(model, row_tables(config, model), optimizer, loss)
    return None
