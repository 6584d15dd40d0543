"""Picks a list from a pool, one item after the other, by worth and by what is picked already.

With ``worth`` from 1 (the best of the pool) to 0, less what popularity and likeness to disliked
items take, the next item is the one with the largest

    (1 - diversity - calibration) * worth - diversity * likeness - calibration * divergence

``likeness`` is the largest cosine with an item that is on the list (maximal marginal relevance;
Carbonell and Goldstein, SIGIR 1998), ``divergence`` that of the list's categories from those of
the history (Steck, RecSys 2018).
"""

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from service.reranking.calibration import Calibration
from service.reranking.taste import Taste

Vectors = NDArray[np.float64]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """The best items of a row, best first.

    Attributes:
        score_C: The model's.
        vector_CH: Of unit length, or zero; of a model without item vectors H is 0.
        popularity_C: 0 to 1.
        category_CG: The shares of G categories in each item: of two, half each.
    """

    score_C: NDArray[np.float64]
    vector_CH: Vectors
    popularity_C: NDArray[np.float64]
    category_CG: NDArray[np.float64]


def pick(
    pool: Pool, k: int, taste: Taste, disliked_NH: Vectors, history_G: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Pick k items, or all if there are fewer; their places in the pool, in the order of the list.

    Args:
        pool: What to pick from.
        k: Items wanted.
        taste: What the list should be like; both shares together 1 at most.
        disliked_NH: The vectors of disliked items, of unit length.
        history_G: How much of the history each category is.
    """
    worth_C = _worth(pool, taste, disliked_NH)
    calibration = Calibration(history_G)
    likeness_C = np.full(len(worth_C), -1.0)
    own_share = max(0.0, 1 - taste.diversity - taste.calibration)
    is_open_C = np.ones(len(worth_C), dtype=bool)
    picked: list[int] = []
    for _ in range(min(k, len(worth_C))):
        gain_C = own_share * worth_C
        if taste.diversity and picked:
            gain_C = gain_C - taste.diversity * likeness_C
        if taste.calibration:
            gain_C = gain_C - taste.calibration * calibration.divergence_of(pool.category_CG)
        # The first of equals is the one that the model put first.
        best = int(np.argmax(np.where(is_open_C, gain_C, -np.inf)))
        picked.append(best)
        is_open_C[best] = False
        if taste.calibration:
            calibration.add(pool.category_CG[best])
        if taste.diversity:
            likeness_C = np.maximum(likeness_C, pool.vector_CH @ pool.vector_CH[best])
    return np.array(picked, dtype=np.int64)


def _worth(pool: Pool, taste: Taste, disliked_NH: Vectors) -> NDArray[np.float64]:
    score_C = pool.score_C
    span = float(np.ptp(score_C)) if len(score_C) else 0.0
    worth_C = (score_C - score_C.min()) / span if span else np.ones(len(score_C))
    worth_C = worth_C - taste.popularity_penalty * pool.popularity_C
    if taste.dislikes and len(disliked_NH):
        likeness_C = (pool.vector_CH @ disliked_NH.T).max(axis=1).clip(min=0)
        worth_C = worth_C - taste.dislikes * likeness_C
    return worth_C
