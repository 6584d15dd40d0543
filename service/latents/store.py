"""What a latent store keeps for a user, and the contract that every store passes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol, Self, final

import numpy as np
from numpy.typing import NDArray

from service.latents.kept_history import NO_HISTORY, Event, KeptHistory

NO_LATENT: Final = np.empty(0, dtype=np.float32)
_NO_ITEMS: Final = np.empty(0, dtype=np.int64)


@final
@dataclass(frozen=True, slots=True)
class UserRecord:
    """A user as the service last saw them.

    Attributes:
        user_id: The customer's id.
        model_digest: Digest of the bundle that encoded the history, 64 hex digits.
        latent_D: float32, what the model's encoder made of ``liked_N``; of length 0 where it
            can make nothing of the history, which alone is put then.
        liked_N: int64 item indices that were encoded, sorted and unique; liked or, by a model
            that reads ratings, rated.
        disliked_N: int64 item indices that are seen but not liked, sorted and unique.
        history: What the latent was made of, to be put beside it; ``get`` leaves it out.
        is_derived: Whether ``history`` was read from the store. Such a record is kept only while
            that is still the user's history there: a latent never outlives an event that came
            meanwhile, or the user's deletion.
    """

    user_id: str
    model_digest: str
    latent_D: NDArray[np.float32]
    liked_N: NDArray[np.int64]
    disliked_N: NDArray[np.int64]
    history: KeptHistory = NO_HISTORY
    is_derived: bool = False

    @classmethod
    def of_history(cls, user_id: str, model_digest: str, history: KeptHistory) -> Self:
        """Give a record of nothing but a history."""
        return cls(user_id, model_digest, NO_LATENT, _NO_ITEMS, _NO_ITEMS, history)

    @property
    def has_latent(self) -> bool:
        """Whether there is more to it than its history."""
        return len(self.latent_D) > 0


class LatentStore(Protocol):
    """Keeps, for each user, a history and what models made of it, for a while.

    A history that is posted as a whole takes the place of all that was kept; events add to it.
    Both let go of the latents that other models made of the history before. Latents can be made
    again; an event that was taken is in the history from then on, however many add at once.

    A history that arrives late is kept as it would be by now had it arrived when it was posted
    (``history.posted_at_us``): ``write_order`` has the law.
    """

    @property
    def name(self) -> str:
        """``memory`` or ``redis``, for logs and metrics."""

    async def get(self, user_id: str, model_digest: str) -> UserRecord | None:
        """Give the record of this user under this very model, or None.

        Raises:
            RecordRefusedError: The store held a value that is not this user's, not this model's,
                or damaged; it is dropped.
            LatentStoreError: The store failed or is too slow.
        """

    async def put(self, record: UserRecord) -> None:
        """Keep a record with its history until it expires or is evicted.

        Raises:
            RecordRefusedError: No store could keep this record.
            LatentStoreError: The store failed or is too slow.
        """

    async def history(self, user_id: str) -> KeptHistory:
        """Give what is kept of what the user did; an empty history where nothing is.

        Raises:
            RecordRefusedError: The store held something else; it is dropped.
            LatentStoreError: The store failed or is too slow.
        """

    async def append(self, user_id: str, events: Sequence[Event], limit: int) -> KeptHistory:
        """Add events to the user's history, of which the ``limit`` newest entries stay.

        Returns:
            The history with the events in it.

        Raises:
            RecordRefusedError: The store held something else; it is dropped. Or no store could
                keep what comes of the events.
            LatentStoreError: The store failed or is too slow. The events may still be in the
                history; those with an id may be sent again.
        """

    async def forget(self, user_id: str) -> None:
        """Drop all that is kept of a user, but for a while that they were forgotten, and when.

        Raises:
            LatentStoreError: The store failed or is too slow.
        """

    async def ping(self) -> None:
        """Ask whether the store answers.

        Raises:
            LatentStoreError: It does not.
        """

    async def close(self) -> None:
        """Let go of connections; the store is not used again."""
