"""The scale of ratings that a model reads and predicts."""

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True, slots=True)
class RatingScale:
    """What training knows of the ratings in a log."""

    lowest: float = 1.0
    """The lowest rating; predictions that are shown as ratings are clipped to here."""

    highest: float = 5.0
    """The highest rating."""

    mean: float = 3.5
    """Of the training ratings; the prediction for users and items that have none."""

    typical: float = 4.5
    """What an entry without a rating counts as: the mean of the ratings not below the mean."""

    def read(self, rating: float | None) -> float:
        """Give what the model reads for a posted rating; beyond the scale it is the nearest end."""
        if rating is None:
            return self.typical
        return min(max(rating, self.lowest), self.highest)
