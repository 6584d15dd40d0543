"""The labelled fallback: the most popular items, the same for everybody but for what is hidden."""

import numpy as np
from numpy.typing import NDArray

from service.catalog import Catalog
from service.retrieval.base import TopK, Wanted


def most_popular(catalog: Catalog, wanted: Wanted) -> TopK:
    """Pick the ``min(k, eligible)`` most popular items that are not hidden.

    Looks no further down the catalogue than it must: this runs on the event loop, which the whole
    of a million items would hold up for 8 ms.

    The score is the number of training users that have the item.
    """
    num_items = len(catalog)
    shown_I = np.ones(num_items, dtype=bool) if wanted.shown_I is None else wanted.shown_I.copy()
    shown_I[wanted.hidden_item_index] = False
    # Enough without a filter, of which nobody knows how much it hides at the top.
    depth = wanted.k + len(wanted.hidden_item_index)
    item_index_K = _first(catalog.by_popularity_I[:depth], shown_I)
    while len(item_index_K) < wanted.k and depth < num_items:
        depth *= 4
        item_index_K = _first(catalog.by_popularity_I[:depth], shown_I)
    item_index_K = item_index_K[: wanted.k]
    return TopK(item_index_K, catalog.popularity_I[item_index_K].astype(np.float32))


def _first(item_N: NDArray[np.int64], shown_I: NDArray[np.bool_]) -> NDArray[np.int64]:
    return item_N[shown_I[item_N]]
