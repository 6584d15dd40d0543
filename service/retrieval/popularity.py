"""The labelled fallback: the most popular items, the same for everybody but for what is hidden."""

import numpy as np

from service.catalog import Catalog
from service.retrieval.base import TopK, Wanted


def most_popular(catalog: Catalog, wanted: Wanted) -> TopK:
    """Pick the ``min(k, eligible)`` most popular items that are not hidden.

    The score is the number of training users that have the item.
    """
    everything_I = np.ones(len(catalog), dtype=bool)
    shown_I = everything_I if wanted.shown_I is None else wanted.shown_I.copy()
    shown_I[wanted.hidden_item_index] = False
    order_I = catalog.by_popularity_I
    item_index_K = order_I[shown_I[order_I]][: wanted.k]
    return TopK(item_index_K, catalog.popularity_I[item_index_K].astype(np.float32))
