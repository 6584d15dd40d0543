"""A query as one model understands it: what is known of the user, and what is wanted."""

import secrets
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

from service.deployment import Served
from service.errors import EmptyHistoryError, UnknownUserError
from service.evidence import NO_ITEMS, Evidence
from service.histories import UNKNOWN_USER
from service.inference.engine import Job
from service.known_items import KnownItems
from service.recommendation import NO_CONTROLS, Query, Reason
from service.refiner import NO_WISH, Wish
from service.reranking.taste import Taste
from service.retrieval.base import TopK, Wanted
from service.retrieval.popularity import most_popular
from service.supported_controls import require

EXPLAINING: Final = Wish(explain=True)
# What an item loses that is just like a disliked one: as much as there is from the best item of the
# pool to the last.
DISLIKES_WEIGHT: Final = 1.0
SHORTCOMINGS: Final[dict[Reason, str]] = {
    "empty_history": "the history is empty",
    "no_known_items": "the model knows none of the items in the history",
    "no_liked_items": "every known item of the history is rated as not liked",
}


@final
@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """All that is to be known before the model, or the fallback, can answer.

    Attributes:
        query: What was asked.
        served: Who is to answer.
        known: The items that the query names.
        evidence: What is known of the user.
        wanted: How many items, and which may not come back.
        wish: What the list should be like.
    """

    query: Query
    served: Served
    known: KnownItems
    evidence: Evidence
    wanted: Wanted
    wish: Wish

    @property
    def job(self) -> Job:
        """The row that the model's engine answers."""
        user_index = UNKNOWN_USER
        if self.query.user_id is not None:
            user_index = self.served.user_index_of.get(self.query.user_id, UNKNOWN_USER)
        evidence = self.evidence
        return Job(self.wanted, evidence.history, evidence.latent_D, user_index, self.wish)

    def fallback(self) -> TopK:
        """Answer with what is popular, on the event loop: one pass over the catalogue.

        That is well under a millisecond at 100,000 items.

        Raises:
            UnknownUserError: The fallback is off, and nothing is kept of the user.
            EmptyHistoryError: The fallback is off, and the history says nothing.
        """
        if self.query.fallback:
            return most_popular(self.served.catalog, self.wanted)
        if self.evidence.reason == "unknown_user":
            raise UnknownUserError("no history was posted, and none is kept for this user")
        raise EmptyHistoryError(SHORTCOMINGS[self.evidence.reason])


def hidden_items(query: Query, known: KnownItems, evidence: Evidence) -> NDArray[np.int64]:
    """Gather what may not come back: int64, in no order."""
    parts = [known.excluded_N, known.disliked_N]
    if query.exclude_seen:
        parts = [evidence.liked_N, evidence.disliked_N, *parts]
    hidden = [part_N for part_N in parts if len(part_N)]
    return hidden[0] if len(hidden) == 1 else np.concatenate([NO_ITEMS, *hidden])


def wish_of(query: Query, served: Served, disliked_N: NDArray[np.int64]) -> Wish:
    """Read the controls, and refuse those that the model has nothing for.

    Raises:
        UnsupportedControlError: Names the control.
    """
    controls = query.controls
    if controls == NO_CONTROLS:
        return EXPLAINING if query.explain else NO_WISH
    require(controls, served)
    taste = Taste(
        diversity=controls.diversity,
        popularity_penalty=controls.popularity_penalty,
        calibration=controls.calibration,
        dislikes=DISLIKES_WEIGHT if len(disliked_N) else 0.0,
    )
    seed = secrets.randbits(32) if controls.seed is None else controls.seed
    return Wish(taste, disliked_N, controls.exploration, seed, query.explain, controls.steer)
