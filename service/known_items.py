"""The items that a query names, as a catalogue knows them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, final

import numpy as np
from numpy.typing import NDArray

from service.catalog import UNKNOWN_ITEM, Catalog
from service.evidence import NO_ITEMS
from service.recommendation import NOTHING_POSTED, Query


@final
@dataclass(frozen=True, slots=True, eq=False)
class KnownItems:
    """The items that a query names, as the catalogue knows them; each id is looked up once.

    Attributes:
        posted_N: int64, one an entry of the history, ``UNKNOWN_ITEM`` where the catalogue lacks it.
        excluded_N: int64, the excluded items that the catalogue has.
        candidate_N: int64, the candidates that the catalogue has; None: all items are.
        disliked_N: int64, the disliked items that the catalogue has.
        unknown_items: The ids that it lacks, each once, posted ones first.
    """

    posted_N: NDArray[np.int64]
    excluded_N: NDArray[np.int64]
    candidate_N: NDArray[np.int64] | None
    disliked_N: NDArray[np.int64]
    unknown_items: tuple[str, ...]

    @classmethod
    def of(cls, query: Query, catalog: Catalog) -> Self:
        """Look up what a query names."""
        posted = query.history or NOTHING_POSTED
        posted_N, unknown_items = catalog.indices(posted.item_ids)
        excluded_N, unknown_excluded = _known(catalog, query.exclude_items)
        candidate_N, unknown_candidates = _known(catalog, query.candidate_items or ())
        disliked_N, unknown_disliked = _known(catalog, query.controls.dislikes)
        unknown = (*unknown_items, *unknown_excluded, *unknown_candidates, *unknown_disliked)
        return cls(
            posted_N,
            excluded_N,
            None if query.candidate_items is None else candidate_N,
            disliked_N,
            tuple(dict.fromkeys(unknown)),
        )


def _known(catalog: Catalog, item_ids: Sequence[str]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Translate ids; the known ones, and the ids that are not."""
    if not item_ids:  # as a rule: of three lists a request, and for the sake of the hot path
        return NO_ITEMS, ()
    index_N, unknown = catalog.indices(item_ids)
    return (index_N[index_N != UNKNOWN_ITEM] if unknown else index_N), unknown
