"""The dimensions of a latent that are worth a slider: which they are, and what each stands for."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, final

import numpy as np
import torch
from numpy.typing import NDArray

from service.autoencoders.base import Autoencoder
from service.autoencoders.traversal import steered
from service.catalog import Catalog
from service.device import to_host
from service.histories import History, HistoryBatch

# Items that whoever reads the name of a dimension may have heard of.
WELL_KNOWN_ITEMS: Final = 1_000
# Users to begin a walk from: one who has nothing, and those who have one of the most popular items.
STARTING_ITEMS: Final = 50
# To both sides: under the prior N(0, 1) 19 of 20 users lie within it.
WALK: Final = 2.0
NAMING_ITEMS: Final = 3
NAMING_CATEGORIES: Final = 2
# Standard errors that the mean of a category lies away from that of all items, or it names nothing.
TELLING: Final = 2.0
# A dimension that moves less than this share of what the first one moves is not worth a slider.
LEAST_SHARE: Final = 0.05


@final
@dataclass(frozen=True, slots=True)
class Side:
    """What rises on the way to one side of a dimension, the most first."""

    item_index_K: tuple[int, ...]
    categories: tuple[str, ...]


@final
@dataclass(frozen=True, slots=True)
class LatentDimension:
    """One dimension.

    Attributes:
        dimension: Which one, from 0.
        effect: Standard deviation, over well-known items, of the change of their scores on the
            way from ``-WALK`` to ``WALK``, the mean over users to begin from.
        above: What rises with it.
        below: What falls with it.
    """

    dimension: int
    effect: float
    above: Side
    below: Side


@final
class LatentDimensions:
    """The dimensions of one model by what moving them does to the scores of well-known items.

    A dimension that training gave up (its posterior is the prior for everybody) moves nothing:
    the decoder has learned to do without it.

    Safe on any thread. It is best not called on the event loop: the first call decodes a hundred
    latents a dimension, which takes 0.6 s on one core for 200 of them.

    Args:
        model: With a posterior.
        catalog: Names what the dimensions stand for.
    """

    def __init__(self, model: Autoencoder, catalog: Catalog) -> None:
        self._model = model
        self._catalog = catalog

    def first(self, limit: int) -> list[LatentDimension]:
        """Give the dimensions that are worth a slider, those that move the most first."""
        effect_D = self._change_DN.std(axis=1)
        order_D = np.argsort(-effect_D, kind="stable")[:limit]
        least = LEAST_SHARE * effect_D.max(initial=0.0)
        return [
            LatentDimension(
                dimension,
                float(effect_D[dimension]),
                self._side(self._change_DN[dimension]),
                self._side(-self._change_DN[dimension]),
            )
            for dimension in order_D.tolist()
            if effect_D[dimension] > least
        ]

    @property
    def _item_N(self) -> NDArray[np.int64]:
        return self._catalog.by_popularity_I[:WELL_KNOWN_ITEMS]

    @cached_property
    @torch.inference_mode()
    def _change_DN(self) -> NDArray[np.float64]:
        """The changes of scores less their mean, which a softmax does not see, [D, N]."""
        model = self._model
        device = model.item_bias_I.device
        starts = [History.of([]), *(History.of([item]) for item in self._item_N[:STARTING_ITEMS])]
        latents_BD = model.encode(HistoryBatch.from_rows(starts).to(device))
        step_DH = torch.stack(
            [
                (
                    model.queries(steered(latents_BD, ((dimension, WALK),)))
                    - model.queries(steered(latents_BD, ((dimension, -WALK),)))
                ).mean(dim=0)
                for dimension in range(model.latent_dim)
            ]
        )
        item_N = torch.from_numpy(self._item_N).to(device)
        (change,) = to_host(step_DH.double() @ model.item_vectors_IH[item_N].double().T)
        change_DN: NDArray[np.float64] = change.numpy()
        change_DN -= change_DN.mean(axis=1, keepdims=True)
        return change_DN

    def _side(self, change_N: NDArray[np.float64]) -> Side:
        order_N = np.argsort(-change_N, kind="stable")[:NAMING_ITEMS]
        return Side(tuple(self._item_N[order_N].tolist()), self._categories_of(change_N))

    def _categories_of(self, change_N: NDArray[np.float64]) -> tuple[str, ...]:
        """Name the categories that rise most, by how surely they do so."""
        spread = change_N.std()  # above 0, or the dimension were not shown
        lift = {
            name: change_N[places].mean() * len(places) ** 0.5 / spread
            for name, places in self._places_of_category.items()
        }
        rising = [name for name in lift if lift[name] > TELLING]
        return tuple(sorted(rising, key=lambda name: -lift[name])[:NAMING_CATEGORIES])

    @cached_property
    def _places_of_category(self) -> dict[str, Sequence[int]]:
        places: dict[str, list[int]] = {}
        for place, item in enumerate(self._item_N.tolist()):
            for name in self._catalog.categories[item]:
                places.setdefault(name, []).append(place)
        return dict(places)
