"""What of a catalogue may be listed: the filters of requests, and what is unavailable, as masks."""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from service.availability import Unavailable
from service.catalog import Catalog
from service.recommendation import EVERY_CATEGORY, CategoryFilter

Mask: TypeAlias = NDArray[np.bool_]

# Masks that are kept, the last used ones: of 25,000 items 25 kB each, of a million 1 MB.
KEPT_MASKS: Final = 128


@final
@dataclass(frozen=True, slots=True, eq=False)
class Shelf:
    """The categories of a catalogue, turned around. Lives on the event loop.

    Attributes:
        catalog: The items.
    """

    catalog: Catalog
    _items_of: dict[str, NDArray[np.int64]] = field(init=False, repr=False)
    _kept: "OrderedDict[tuple[CategoryFilter, int], Mask | None]" = field(init=False, repr=False)

    def __post_init__(self) -> None:
        found: dict[str, list[int]] = {}
        for item_index, names in enumerate(self.catalog.categories):
            for name in names:
                found.setdefault(name, []).append(item_index)
        items_of = {name: np.array(items, dtype=np.int64) for name, items in found.items()}
        object.__setattr__(self, "_items_of", items_of)
        object.__setattr__(self, "_kept", OrderedDict())

    def shown(
        self,
        categories: CategoryFilter,
        candidate_N: NDArray[np.int64] | None,
        unavailable: Unavailable,
    ) -> Mask | None:
        """Tell which items may be listed; None: all of them.

        Args:
            categories: Of a category that no item has, no item is.
            candidate_N: int64, the items that the caller chooses among; None: all.
            unavailable: What nobody may see now.

        Returns:
            bool [I], not to be written to.
        """
        shown_I = self._by_category(categories, unavailable)
        if candidate_N is None:
            return shown_I
        candidate_I = np.zeros(len(self.catalog), dtype=bool)
        candidate_I[candidate_N] = True if shown_I is None else shown_I[candidate_N]
        return candidate_I

    def _by_category(self, categories: CategoryFilter, unavailable: Unavailable) -> Mask | None:
        key = (categories, unavailable.version)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        shown_I = self._made(categories, unavailable)
        self._kept[key] = shown_I
        if len(self._kept) > KEPT_MASKS:
            self._kept.popitem(last=False)
        return shown_I

    def _made(self, categories: CategoryFilter, unavailable: Unavailable) -> Mask | None:
        if categories == EVERY_CATEGORY and not unavailable.item_ids:
            return None
        if categories == EVERY_CATEGORY:
            return self._available(unavailable)
        shown_I = np.ones(len(self.catalog), dtype=bool)
        if unavailable.item_ids:
            # Made once a version: of a long list it takes 0.1 s.
            shown_I &= self._by_category(EVERY_CATEGORY, unavailable)
        if categories.any:
            shown_I &= self._in_one_of(categories.any)
        for name in categories.all:
            shown_I &= self._in_one_of([name])
        if categories.none:
            shown_I &= ~self._in_one_of(categories.none)
        shown_I.setflags(write=False)
        return shown_I

    def _available(self, unavailable: Unavailable) -> Mask:
        index_of = self.catalog.index_of
        gone = [index_of[item_id] for item_id in unavailable.item_ids if item_id in index_of]
        available_I = np.ones(len(self.catalog), dtype=bool)
        available_I[gone] = False
        available_I.setflags(write=False)
        return available_I

    def _in_one_of(self, names: Iterable[str]) -> Mask:
        inside_I = np.zeros(len(self.catalog), dtype=bool)
        for name in names:
            inside_I[self._items_of.get(name, [])] = True
        return inside_I
