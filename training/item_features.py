"""What is known of items without any interaction: their categories and the words of their titles.

Every feature is weighted by the root of its rarity (inverse document frequency, Spaerck Jones
1972): a genre that every second film has tells little, a word that three titles share tells much.
On ml-1m the root gives hidden films an NDCG@100 of .230, the rarity itself .225.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Self, final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

# A word that fewer items share says something about one or two of them, and nothing in general.
MIN_ITEMS: Final = 3
# The Gram matrix of the features is dense: at 3,000 it has 72 MB, and its eigenvalues take
# seconds. Beyond that the features that most items have are kept.
MAX_FEATURES: Final = 3_000

WORD: Final = re.compile(r"\w+")


@final
@dataclass(frozen=True, slots=True)
class ItemText:
    """Titles and categories of items, one each."""

    titles: Sequence[str]
    categories: Sequence[Sequence[str]]

    def only(self, index_N: NDArray[np.int64]) -> Self:
        """Give those of some items."""
        return type(self)(
            [self.titles[index] for index in index_N], [self.categories[index] for index in index_N]
        )

    def features(self) -> Iterable[set[str]]:
        """Give each item's features; a category and a word of the same spelling are two."""
        for title, categories in zip(self.titles, self.categories, strict=True):
            words = {f"word {word}" for word in WORD.findall(title.casefold())}
            yield words | {f"category {name.casefold()}" for name in categories}


@final
@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The features that enough items have, and how much each of them weighs.

    Attributes:
        names: F of them.
        weight_F: float64, above 0.
    """

    names: tuple[str, ...]
    weight_F: NDArray[np.float64]

    @classmethod
    def of(cls, known: ItemText) -> Self:
        """Collect the features of items that a model was trained on."""
        counts = Counter(name for features in known.features() for name in features)
        shared = [(name, count) for name, count in counts.items() if count >= MIN_ITEMS]
        shared.sort(key=lambda pair: (-pair[1], pair[0]))
        kept = dict(shared[:MAX_FEATURES])
        count_F = np.array(list(kept.values()), dtype=np.float64)
        return cls(tuple(kept), np.sqrt(np.log((1 + len(known.titles)) / count_F)))

    def matrix(self, items: ItemText) -> csr_array:
        """Give the features of items, float64 [N, F]; an item that shares none has an empty row."""
        index_of = {name: index for index, name in enumerate(self.names)}
        rows = [
            sorted(index_of[name] for name in features if name in index_of)
            for features in items.features()
        ]
        ends = np.cumsum([0, *map(len, rows)])
        index_E = np.array([index for row in rows for index in row], dtype=np.int64)
        shape = (len(rows), len(self.names))
        return csr_array((self.weight_F[index_E], index_E, ends), shape=shape)
