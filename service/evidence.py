"""What a request knows of its user, in item indices: posted now, or kept from before."""

from dataclasses import dataclass, replace
from typing import Final, Self, final

import numpy as np
from numpy.typing import NDArray

from service.autoencoders.rating_scale import RatingScale
from service.deployment import Served
from service.errors import RecordRefusedError
from service.histories import History
from service.latents.kept_history import NO_HISTORY, KeptHistory
from service.latents.store import UserRecord
from service.opinion import Opinion
from service.recommendation import CacheOutcome, PostedHistory, Reason, Source

# No encoder comes near this; a lying store may, and scores would overflow.
MAX_LATENT: Final = 1e6
NO_ITEMS: Final = np.empty(0, dtype=np.int64)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """The items of a user, and why they are not enough where they are not.

    Attributes:
        cache: How the latent store took part.
        reason: Why the model cannot answer from this; empty when it can.
        liked_N: int64, sorted and unique; what the model encodes, or encoded before.
        disliked_N: int64, sorted and unique; seen but not liked, none of them in ``liked_N``. A
            model that reads ratings encodes all that is rated, and leaves nothing for here.
        history: What the model encodes, with weights or ratings; None where a latent is kept.
        latent_D: float32, what the model made of ``liked_N`` before; None when nothing was kept.
        source_history: By the customer's ids, of a history that is kept without a latent.
    """

    cache: CacheOutcome
    reason: Reason
    liked_N: NDArray[np.int64]
    disliked_N: NDArray[np.int64]
    history: History | None = None
    latent_D: NDArray[np.float32] | None = None
    source_history: KeptHistory | None = None

    @classmethod
    def posted(
        cls,
        posted: PostedHistory,
        item_index_N: NDArray[np.int64],
        positive_threshold: float | None,
        scale: RatingScale | None = None,
    ) -> Self:
        """Read a posted history; entries that the catalogue lacks are passed over.

        ``Opinion`` has the rule of what is liked.

        Args:
            posted: N entries.
            item_index_N: int64, their items in the catalogue, ``UNKNOWN_ITEM`` where it lacks one.
            positive_threshold: None: every entry is liked.
            scale: Of a model that reads ratings.
        """
        opinion = Opinion.of(posted, item_index_N, positive_threshold, scale)
        liked = opinion.history
        return cls("bypass", opinion.reason, liked.item_index_N, opinion.disliked_N, history=liked)

    @classmethod
    def kept(cls, record: UserRecord, latent_dim: int | None, num_items: int) -> Self:
        """Take a record up.

        Args:
            record: What the store holds.
            latent_dim: D; None for a model that keeps histories, whose records hold the weights
                of the liked items in place of a latent.
            num_items: I.

        Raises:
            RecordRefusedError: The model can make nothing of it; decoding it would fail, or worse.
        """
        item_N = np.concatenate([record.liked_N, record.disliked_N])
        expected_dim = len(record.liked_N) if latent_dim is None else latent_dim
        if not (
            record.latent_D.shape == (expected_dim,)
            and bool((np.abs(record.latent_D) <= MAX_LATENT).all())  # a NaN is not, either
            and bool(((item_N >= 0) & (item_N < num_items)).all())
        ):
            raise RecordRefusedError("content", "a kept record does not fit its own model")
        seen = (record.liked_N, record.disliked_N)
        if latent_dim is None:
            return cls("hit", "", *seen, history=History(record.liked_N, record.latent_D))
        return cls("hit", "", *seen, latent_D=record.latent_D)

    @classmethod
    def remembered(cls, history: KeptHistory, served: Served) -> Self:
        """Read a kept history of which this model has made no latent yet.

        Args:
            history: Entries that the catalogue of this model lacks are passed over, and named in
                no answer: its ``unknown_items`` are of what is asked, which the caller can mend.
            served: The model.
        """
        if not len(history):
            return cls.unknown_user("miss")
        item_index_N, _ = served.catalog.indices(history.entries.item_ids)
        read = cls.posted(
            history.entries, item_index_N, served.positive_threshold, served.rating_scale
        )
        return replace(read, cache="miss", source_history=history)

    def with_history(self, history: KeptHistory, served: Served) -> Self:
        """Take the history in place of the latent that the model made of it, where it is kept."""
        read = self.remembered(history, served)
        return self if read.reason else replace(read, cache=self.cache)

    def record(
        self,
        user_id: str,
        model_digest: str,
        latent_D: NDArray[np.float32],
        posted: KeptHistory = NO_HISTORY,
    ) -> UserRecord:
        """Put together what is kept of a user.

        Args:
            user_id: The customer's id.
            model_digest: Of the model.
            latent_D: What the model made of the history; ``NO_LATENT`` where it could make nothing
                of it.
            posted: The history, where it was not kept before.
        """
        source = self.source_history
        return UserRecord(
            user_id=user_id,
            model_digest=model_digest,
            latent_D=latent_D,
            liked_N=self.liked_N,
            disliked_N=self.disliked_N,
            history=posted if source is None else source,
            is_derived=source is not None,
        )

    @classmethod
    def unknown_user(cls, cache: CacheOutcome) -> Self:
        """Nothing was posted, and the store has nothing either."""
        return cls(cache, "unknown_user", NO_ITEMS, NO_ITEMS)

    @property
    def source(self) -> Source:
        """Who can answer from this."""
        return "popularity" if self.reason else "model"
