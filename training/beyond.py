"""What ranked lists are like apart from being right: how much they show, how evenly, how known."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

SHOWN: Final = 20


def beyond_accuracy(lists: Sequence[NDArray[np.int64]], train: csr_array) -> dict[str, float]:
    """Describe the first 20 items of every list.

    Args:
        lists: Item indices, best first, one list a user.
        train: [U, I]; every item has a user.

    Returns:
        ``coverage@20``: the share of the catalogue that is in any list.
        ``gini@20``: how unevenly the lists show the items of the catalogue; 0: all alike, towards
        1: a few fill them all.
        ``novelty@20``: the mean over shown items of ``-log2`` of the share of training users that
        have the item, in bits: 1 for what half of them have.
    """
    num_users, num_items = train.shape
    shown_N = np.concatenate([np.empty(0, dtype=np.int64), *(found[:SHOWN] for found in lists)])
    exposure_I = np.bincount(shown_N, minlength=num_items)
    share_I = np.bincount(train.indices, minlength=num_items) / num_users
    return {
        "coverage@20": float(np.count_nonzero(exposure_I) / num_items),
        "gini@20": gini(exposure_I),
        "novelty@20": float(-np.log2(share_I[shown_N]).mean()) if len(shown_N) else 0.0,
    }


def gini(value_I: NDArray[np.integer]) -> float:
    """Gini coefficient of what is not negative: half the mean difference over the mean."""
    total = value_I.sum()
    if not total:
        return 0.0
    number = len(value_I)
    rank_I = np.arange(1, number + 1)
    return float((2 * rank_I - number - 1) @ np.sort(value_I) / (number * total))
