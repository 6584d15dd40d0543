"""Hybrid: deep autoencoders and a full-rank linear one, fused into one model.

Deep models win where users have much in common, linear ones on the long tail. Late fusion: the
score is the weighted sum of the parents' scores. A sum of factored models is a factored model
(item vectors side by side, queries side by side), and a weight moves into the item vectors, so
the sum is searched as exactly as any parent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Final, Self, final

import torch
from pydantic import Field, TypeAdapter
from torch import Tensor, nn

from service.autoencoders.base import Autoencoder
from service.autoencoders.cdae import CDAE, CDAEConfig
from service.autoencoders.item_item import ItemItem
from service.autoencoders.multdae import MultDAE, MultDAEConfig
from service.autoencoders.multvae import MultVAE, MultVAEConfig
from service.autoencoders.recvae import RecVAE, RecVAEConfig
from service.histories import HistoryBatch

PARENTS: Final[Mapping[str, tuple[type[Any], type[Any]]]] = {
    "cdae": (CDAEConfig, CDAE),
    "multdae": (MultDAEConfig, MultDAE),
    "multvae": (MultVAEConfig, MultVAE),
    "recvae": (RecVAEConfig, RecVAE),
}


@final
@dataclass(frozen=True, slots=True)
class Parent:
    """A deep parent: its architecture, its config, its weight in the sum."""

    architecture: str
    config: dict[str, Any] = field(default_factory=dict)
    weight: Annotated[float, Field(ge=0)] = 1.0


@final
@dataclass(frozen=True, slots=True)
class HybridConfig:
    """The parents of a hybrid; the weights of the sum are already in its item vectors."""

    parents: Annotated[tuple[Parent, ...], Field(min_length=1)] = (
        Parent("cdae"),
        Parent("multvae"),
    )
    """Deep parents."""

    linear_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the linear parent."""

    num_weights: Annotated[int, Field(ge=0)] = 0
    """M, the entries that pruning left of the item-item matrix."""


@final
class Hybrid(Autoencoder):
    """``score = sum_p weight_p * score_p + linear_weight * history @ item_item``."""

    config: HybridConfig

    def __init__(self, config: HybridConfig, num_items: int, num_users: int = 0) -> None:
        super().__init__(config)
        parents = [_build(parent, num_items, num_users) for parent in config.parents]
        hidden_dim = sum(parent.item_vectors_IH.shape[1] for parent in parents)
        self.item_vectors_IH = nn.Parameter(torch.empty(num_items, hidden_dim))
        self.item_bias_I = nn.Parameter(torch.zeros(num_items))
        nn.init.xavier_uniform_(self.item_vectors_IH)
        self._hold(parents)
        self.linear = ItemItem(num_items, config.num_weights)

    @classmethod
    def of(
        cls,
        parents: Sequence[Autoencoder],
        parent_weights: Sequence[float],
        linear: ItemItem,
        linear_weight: float,
    ) -> Self:
        """Fuse trained parents; they are taken over and of no use by themselves afterwards."""
        names = {module: name for name, (_, module) in PARENTS.items()}
        config = HybridConfig(
            parents=tuple(
                Parent(names[type(parent)], asdict(parent.config), weight)
                for parent, weight in zip(parents, parent_weights, strict=True)
            ),
            linear_weight=linear_weight,
            num_weights=len(linear.weight_M),
        )
        num_users = max(parent.num_users for parent in parents)
        with torch.device("meta"):
            made = cls(config, parents[0].num_items, num_users)
        weighted = list(zip(parents, parent_weights, strict=True))
        vectors_IH = torch.cat([w * parent.item_vectors_IH.detach() for parent, w in weighted], 1)
        bias_I = torch.stack([w * parent.item_bias_I.detach() for parent, w in weighted]).sum(0)
        made.item_vectors_IH = nn.Parameter(vectors_IH)
        made.item_bias_I = nn.Parameter(bias_I)
        made._hold(parents)
        made.linear = ItemItem.of(
            linear.offset_I1, linear.item_index_M, linear.weight_M * linear_weight
        )
        return made

    def _hold(self, parents: Sequence[Autoencoder]) -> None:
        # torch types a ModuleList as a list of modules, whatever is in it.
        held = nn.ModuleList(_without_items(parent) for parent in parents)
        self.parents: Sequence[Autoencoder] = held  # type: ignore[assignment]  # see above

    @property
    def num_items(self) -> int:
        """I, the size of the catalogue."""
        return len(self.item_bias_I)

    @property
    def num_users(self) -> int:
        """U, where a parent has rows for users."""
        return max(parent.num_users for parent in self.parents)

    @property
    def latent_dim(self) -> int:
        """D, the parents' latents side by side."""
        return sum(parent.latent_dim for parent in self.parents)

    @property
    def gathered_dim(self) -> int:
        """F, what the parents gather side by side."""
        return sum(parent.gathered_dim for parent in self.parents)

    def gather(self, histories: HistoryBatch) -> Tensor:
        """Give what the parents gather side by side, gathered_BF."""
        return torch.cat([parent.gather(histories) for parent in self.parents], dim=1)

    def latents(self, gathered_BF: Tensor) -> Tensor:
        """Give the parents' latents side by side, latents_BD."""
        parts = torch.split(gathered_BF, [parent.gathered_dim for parent in self.parents], dim=1)
        latents = [parent.latents(parts[place]) for place, parent in enumerate(self.parents)]
        return torch.cat(latents, dim=1)

    def queries(self, latents_BD: Tensor) -> Tensor:
        """Give the parents' queries side by side, query_BH."""
        parts = torch.split(latents_BD, [parent.latent_dim for parent in self.parents], dim=1)
        queries = [parent.queries(parts[place]) for place, parent in enumerate(self.parents)]
        return torch.cat(queries, dim=1)


def _build(parent: Parent, num_items: int, num_users: int) -> Autoencoder:
    if parent.architecture not in PARENTS:
        known = ", ".join(PARENTS)
        raise ValueError(f"{parent.architecture!r} cannot be a parent; there are: {known}")
    config_class, module = PARENTS[parent.architecture]
    config = TypeAdapter(config_class).validate_python(parent.config)
    made: Autoencoder = module(config, num_items, num_users)
    return made


def _without_items(parent: Autoencoder) -> Autoencoder:
    """Take the item matrix away: the hybrid holds it, weighted, beside the other parents'."""
    parent.item_vectors_IH = nn.Parameter(parent.item_vectors_IH.detach()[:0])
    parent.item_bias_I = nn.Parameter(parent.item_bias_I.detach()[:0])
    return parent
