"""The items of a model: their ids, titles, categories and popularity, in index order."""

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import Any, Final, Self, final

import numpy as np
import orjson
from numpy.typing import NDArray

from service.errors import CheckpointCorruptError
from service.item_json import ItemJson

UNKNOWN_ITEM: Final = -1


@final
@dataclass(frozen=True)
class Catalog:
    """What the customer calls an item (``item_id``) and what we call it (``item_index``).

    Attributes:
        item_ids: The customer's ids; the position is the item index.
        titles: One per item, empty where there is none.
        categories: One tuple per item, empty where there is none.
        popularity_I: int64; how many training users have the item.
    """

    item_ids: tuple[str, ...]
    titles: tuple[str, ...]
    categories: tuple[tuple[str, ...], ...]
    popularity_I: NDArray[np.int64]
    index_of: Mapping[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        sizes = {len(self.item_ids), len(self.titles), len(self.categories), len(self.popularity_I)}
        if len(sizes) > 1:
            raise CheckpointCorruptError(f"catalogue columns differ in length: {sorted(sizes)}")
        index_of = {item_id: index for index, item_id in enumerate(self.item_ids)}
        if len(index_of) != len(self.item_ids):
            raise CheckpointCorruptError("an item id stands twice in the catalogue")
        object.__setattr__(self, "index_of", index_of)

    def __len__(self) -> int:
        return len(self.item_ids)

    @cached_property
    def by_popularity_I(self) -> NDArray[np.int64]:
        """Item indices, most popular first; ties go to the smaller index."""
        return np.argsort(-self.popularity_I, kind="stable")

    @cached_property
    def item_json(self) -> ItemJson:
        """The items as answers write them, made as they are asked for."""
        return ItemJson(self.item_ids, self.titles)

    def indices(self, item_ids: Sequence[str]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
        """Translate ids to indices.

        Returns:
            One index an id, ``UNKNOWN_ITEM`` where the catalogue lacks it, and the ids that it
            lacks, each once, in the given order.
        """
        try:
            # No loop in Python as long as all ids are known: 15 us for 100, half of it hashing.
            known = map(self.index_of.__getitem__, item_ids)
            return np.fromiter(known, np.int64, len(item_ids)), ()
        except KeyError:
            found = [self.index_of.get(item_id, UNKNOWN_ITEM) for item_id in item_ids]
            pairs = zip(item_ids, found, strict=True)
            unknown = dict.fromkeys(item_id for item_id, index in pairs if index == UNKNOWN_ITEM)
            return np.array(found, dtype=np.int64), tuple(unknown)

    def search(self, text: str, limit: int) -> list[int]:
        """Find items whose title holds every word of ``text``, the most popular first."""
        words = text.casefold().split()
        if not words:
            return [int(index) for index in self.by_popularity_I[:limit]]
        titles, start_I1 = self._folded_titles
        # Of a million titles a word takes 10 ms to find or to count, a look at each title 2 s.
        rarest = min(words, key=titles.count) if len(words) > 1 else words[0]
        found: list[int] = []
        at = titles.find(rarest)
        while at >= 0 and len(found) < limit:
            place = bisect_right(start_I1, at) - 1
            end = start_I1[place + 1]
            title = titles[start_I1[place] : end]
            if all(word in title for word in words):
                found.append(int(self.by_popularity_I[place]))
            at = titles.find(rarest, end)
        return found

    @cached_property
    def _folded_titles(self) -> tuple[str, "array[int]"]:
        """All titles as one text, the most popular first; where each begins, and where all end.

        What stands between two is in no word: words are split there.
        """
        folded = [self.titles[index].casefold() for index in self.by_popularity_I.tolist()]
        start_I1 = array("q", accumulate((len(title) + 1 for title in folded), initial=0))
        return "\n".join(folded), start_I1

    def to_json(self) -> bytes:
        """Write the catalogue as JSON columns."""
        columns = {
            "item_ids": self.item_ids,
            "titles": self.titles,
            "categories": self.categories,
            "popularity": self.popularity_I,
        }
        return orjson.dumps(columns, option=orjson.OPT_SERIALIZE_NUMPY)

    @classmethod
    def from_json(cls, content: bytes) -> Self:
        """Read what ``to_json`` wrote.

        Raises:
            CheckpointCorruptError: The content is not such a catalogue.
        """
        try:
            columns: dict[str, Any] = orjson.loads(content)
            return cls(
                item_ids=tuple(map(str, columns["item_ids"])),
                titles=tuple(map(str, columns["titles"])),
                categories=_rows(columns["categories"]),
                popularity_I=_counts(columns["popularity"]),
            )
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise CheckpointCorruptError(f"the catalogue cannot be read: {error}") from error


def _rows(rows: Iterable[Iterable[object]]) -> tuple[tuple[str, ...], ...]:
    # Items of the same categories share one row: of a million items 8 MB and not 200.
    kept: dict[tuple[str, ...], tuple[str, ...]] = {}
    return tuple(kept.setdefault(row, row) for row in (tuple(map(str, given)) for given in rows))


def _counts(values: object) -> NDArray[np.int64]:
    # Of its own accord NumPy would read texts as numbers, and cut fractions off.
    counts_I = np.array(values)
    is_whole = counts_I.dtype == np.int64 or counts_I.size == 0
    if counts_I.ndim != 1 or not is_whole or (counts_I < 0).any():
        raise ValueError("popularity is no list of whole numbers from 0 to 2**63 - 1")
    return counts_I.astype(np.int64, copy=False)
