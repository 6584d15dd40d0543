"""How a list should differ from the model's own: what a caller may ask for, and its price in items.

A list with a taste is picked from a pool of the best items, so that no item comes in that the
model thinks little of.
"""

from dataclasses import dataclass
from typing import Final, final

# Items of a pool beside twice those of the list. Picking takes as many looks at the whole pool as
# there are items on the list.
SPARE: Final = 200


@final
@dataclass(frozen=True, slots=True)
class Taste:
    """What a caller asks of the order of a list; zeros ask for nothing.

    Attributes:
        diversity: 0 to 1; how much an item loses for being like one that stands before it.
        popularity_penalty: At least 0; how much the most popular item loses, where the best item
            of the pool is worth 1 and the last one 0.
        calibration: 0 to 1; how much it counts that the categories of the list have the shares
            that they have in the history.
        dislikes: At least 0; how much an item loses for being like a disliked one.
    """

    diversity: float = 0.0
    popularity_penalty: float = 0.0
    calibration: float = 0.0
    dislikes: float = 0.0

    @property
    def is_plain(self) -> bool:
        """Whether the model's own list is asked for."""
        return not (self.diversity or self.popularity_penalty or self.calibration or self.dislikes)


PLAIN: Final = Taste()


def pool_size(k: int) -> int:
    """Say from how many of the best items k are picked."""
    return SPARE + 2 * k
