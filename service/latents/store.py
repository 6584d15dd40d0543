"""What a latent store keeps for a user, and the contract that every store passes."""

from dataclasses import dataclass
from typing import Protocol, final

import numpy as np
from numpy.typing import NDArray


@final
@dataclass(frozen=True, slots=True)
class UserRecord:
    """A user as the service last saw them.

    Attributes:
        user_id: The customer's id.
        model_digest: Digest of the bundle that encoded the history, 64 hex digits.
        latent_D: float32, what the model's encoder made of ``liked_N``.
        liked_N: int64 item indices that were encoded, sorted and unique; liked or, by a model
            that reads ratings, rated.
        disliked_N: int64 item indices that are seen but not liked, sorted and unique.
    """

    user_id: str
    model_digest: str
    latent_D: NDArray[np.float32]
    liked_N: NDArray[np.int64]
    disliked_N: NDArray[np.int64]


class LatentStore(Protocol):
    """Keeps user records for a while. An accelerator: whatever it loses can be posted again."""

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
        """Keep a record until it expires or is evicted.

        Raises:
            RecordRefusedError: No store could keep this record.
            LatentStoreError: The store failed or is too slow.
        """

    async def delete(self, user_id: str, model_digest: str) -> bool:
        """Forget a user under this model; tell whether there was anything to forget.

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
