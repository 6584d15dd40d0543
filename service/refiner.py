"""What a row may ask beyond the best items: another order, a draw from the posterior, causes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.autoencoders.traversal import Steering
from service.autoencoders.variational import VariationalAutoencoder
from service.catalog import Catalog
from service.causes import Cause, Causes
from service.histories import UNKNOWN_USER, History, HistoryBatch
from service.ranker import ModelRanker
from service.reranking.pick import Pool, pick
from service.reranking.taste import PLAIN, Taste
from service.retrieval.base import TopK

NO_ITEMS: Final = np.empty(0, dtype=np.int64)
# Entries of a history that are left out one by one: a batch of that many rows.
MAX_EXPLAINED: Final = 100
MAX_CAUSES: Final = 3
# Entries of all rows of that batch together: of a history of 10,000 entries two are tried.
MAX_EXPLAINED_ENTRIES: Final = 20_000
# Categories of a history that are told apart, its most frequent ones.
MAX_CATEGORIES: Final = 50


@final
@dataclass(frozen=True, slots=True, eq=False)
class Wish:
    """What a row asks beyond its best items; as it is made, nothing.

    Attributes:
        taste: What the order of the list should be like.
        disliked_N: int64, items that others should not be like.
        exploration: How many standard deviations of the posterior a draw from it is scaled by.
        seed: Start of the chance of that draw.
        explain: Whether to name the entries that raised the score of each item.
        steer: Dimensions of the latent, and by how much each is moved.
    """

    taste: Taste = PLAIN
    disliked_N: NDArray[np.int64] = field(default_factory=lambda: NO_ITEMS)
    exploration: float = 0.0
    seed: int = 0
    explain: bool = False
    steer: Steering = ()


NO_WISH: Final = Wish()


@final
class Refiner:
    """Grants wishes.

    Args:
        ranker: Encodes and scores.
        catalog: Knows popularity and categories.
    """

    def __init__(self, ranker: ModelRanker, catalog: Catalog) -> None:
        self._ranker = ranker
        self._catalog = catalog
        self._most = float(np.log1p(catalog.popularity_I.max(initial=1)))

    def drawn(self, history: History, wish: Wish) -> Tensor:
        """Draw a latent from the posterior of a history, its noise scaled, float32 [D].

        Raises:
            TypeError: The model has no posterior.
        """
        model = self._ranker.model
        if not isinstance(model, VariationalAutoencoder):
            raise TypeError(f"{type(model).__name__} has no posterior")
        batch = HistoryBatch.from_rows([history]).to(model.item_bias_I.device)
        (mean_D,), (log_variance_D,) = model.posterior_of(batch)
        noise_D = np.random.default_rng(wish.seed).standard_normal(len(mean_D), dtype=np.float32)
        deviation_D = torch.exp(0.5 * log_variance_D)
        drawn_D: Tensor = mean_D + wish.exploration * deviation_D * torch.from_numpy(noise_D).to(
            mean_D
        )
        return drawn_D

    def picked(self, pool: TopK, k: int, wish: Wish, history_N: NDArray[np.int64]) -> TopK:
        """Pick a list from the best items by a taste; the scores stay the model's."""
        item_C = pool.item_index_K
        target = self._categories_of(history_N) if wish.taste.calibration else {}
        places = pick(
            Pool(
                score_C=pool.score_K.astype(np.float64),
                vector_CH=self._unit_vectors(item_C),
                popularity_C=np.log1p(self._catalog.popularity_I[item_C]) / self._most,
                category_CG=self._shares(item_C, list(target)),
            ),
            k,
            wish.taste,
            self._unit_vectors(np.unique(wish.disliked_N)),
            np.array([*target.values(), 0.0]),
        )
        return TopK(item_C[places], pool.score_K[places])

    def causes(
        self,
        history: History,
        listed_K: NDArray[np.int64],
        user_index: int = UNKNOWN_USER,
        steer: Steering = (),
    ) -> Causes:
        """Leave the entries of a history out one by one, in one batch.

        Of a long history those are tried that are most like the list. Latents are moved as they
        were for the list.
        """
        tried = self._most_alike(history, listed_K)
        keep = np.arange(len(history))
        rows = [history, *(_part(history, keep[keep != place]) for place in tried)]
        score_NK = self._ranker.score(
            HistoryBatch.from_rows(rows, [user_index] * len(rows)), listed_K, steer
        )
        lift_NK = score_NK[0] - score_NK[1:]
        entry_N = history.item_index_N[tried]
        return tuple(_strongest(entry_N, lift_N) for lift_N in lift_NK.T)

    def _most_alike(self, history: History, listed_K: NDArray[np.int64]) -> NDArray[np.int64]:
        most = min(MAX_EXPLAINED, MAX_EXPLAINED_ENTRIES // max(1, len(history)))
        if len(history) <= most:
            return np.arange(len(history))
        mean_H = self._unit_vectors(listed_K).mean(axis=0)
        likeness_N = self._unit_vectors(history.item_index_N) @ mean_H
        return np.sort(np.argsort(-likeness_N, kind="stable")[:most])

    def _unit_vectors(self, item_N: NDArray[np.int64]) -> NDArray[np.float64]:
        vectors_IH = self._ranker.model.item_vectors_IH
        index_N = torch.from_numpy(item_N).to(vectors_IH.device)
        vector_NH: NDArray[np.float64] = vectors_IH[index_N].detach().double().cpu().numpy()
        norm_N1 = np.linalg.norm(vector_NH, axis=1, keepdims=True)
        unit_NH: NDArray[np.float64] = vector_NH / np.maximum(norm_N1, np.finfo(float).tiny)
        return unit_NH

    def _categories_of(self, history_N: NDArray[np.int64]) -> dict[str, float]:
        """Weigh the categories of a history, the most frequent ones; entries have one vote each."""
        weight_of: Counter[str] = Counter()
        for item in history_N.tolist():
            own = self._catalog.categories[item]
            weight_of.update(dict.fromkeys(own, 1 / len(own)) if own else {})
        return dict(weight_of.most_common(MAX_CATEGORIES))

    def _shares(self, item_C: NDArray[np.int64], names: Sequence[str]) -> NDArray[np.float64]:
        """Split each item among its categories; the last column is for those that are not named."""
        column_of = {name: column for column, name in enumerate(names)}
        share_CG = np.zeros((len(item_C), len(names) + 1))
        for row, item in enumerate(item_C.tolist()):
            own = self._catalog.categories[item]
            for name in own:
                share_CG[row, column_of.get(name, -1)] += 1 / len(own)
        return share_CG


def _part(history: History, places: NDArray[np.int64]) -> History:
    return History(history.item_index_N[places], history.weight_N[places])


def _strongest(entry_N: NDArray[np.int64], lift_N: NDArray[np.float64]) -> tuple[Cause, ...]:
    best = np.argsort(-lift_N, kind="stable")[:MAX_CAUSES]
    return tuple(Cause(int(entry_N[at]), float(lift_N[at])) for at in best if lift_N[at] > 0)
