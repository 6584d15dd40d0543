"""Why an item is on a list: the entries of the history that raised its score."""

from dataclasses import dataclass
from typing import TypeAlias, final


@final
@dataclass(frozen=True, slots=True)
class Cause:
    """An entry of a history that raised the score of an item.

    Attributes:
        item_index: The entry's item.
        lift: By how much the item's score would be less without it; above 0.
    """

    item_index: int
    lift: float


# For each item of a list its strongest causes, the strongest first; maybe none.
Causes: TypeAlias = tuple[tuple[Cause, ...], ...]
