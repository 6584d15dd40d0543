"""How much one query may ask."""

from dataclasses import dataclass
from typing import Final, final

from service.errors import HistoryTooLongError, TooManyResultsError
from service.recommendation import Query

MAX_REFINED_K: Final = 100


@final
@dataclass(frozen=True, slots=True)
class Limits:
    """How much one query may ask.

    Attributes:
        max_history: Entries in ``history``, and ids in each other list of a query.
        max_k: Items wanted.
    """

    max_history: int
    max_k: int

    def check(self, query: Query) -> None:
        """Refuse what is too large.

        Raises:
            TooManyResultsError: ``k`` is.
            HistoryTooLongError: A list of the query is.
        """
        # A list that is picked or explained item by item holds the engine up by its length.
        max_k = min(self.max_k, MAX_REFINED_K) if query.is_refined else self.max_k
        if query.k > max_k:
            raise TooManyResultsError(query.k, max_k)
        lists = (
            ("history", query.history),
            ("exclude_items", query.exclude_items),
            ("candidate_items", query.candidate_items),
        )
        for field, entries in lists:
            if entries is not None and len(entries) > self.max_history:
                raise HistoryTooLongError(field, len(entries), self.max_history)
