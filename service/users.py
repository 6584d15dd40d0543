"""The use case of users who are kept: events add to a history, and a user can be forgotten.

Two ways lead into the one history that is kept of a user. A history that is posted for a list is
a statement of all that the user did: it takes the place of the kept one, whatever the model that
answers can make of it. Events add to what is there, whichever way it came. Every model reads the
kept history as if it had just been posted, also one that was loaded after it.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import compress
from typing import final

from service.catalog import Catalog
from service.deployment import Served
from service.errors import (
    DeadlineExceededError,
    HistoryTooLongError,
    LatentStoreError,
    OverloadedError,
    RecordRefusedError,
    StoreUnavailableError,
    UnknownItemsError,
)
from service.evidence import Evidence
from service.histories import UNKNOWN_USER
from service.inference.batcher import Batcher
from service.inference.engine import Job
from service.latents.kept_history import Event, KeptHistory, are_in_any
from service.latents.store import LatentStore
from service.recommendation import CacheOutcome
from service.recommender import Recommender
from service.retrieval.base import Wanted
from service.telemetry import Telemetry


@final
@dataclass(frozen=True, slots=True)
class KeptUser:
    """What is kept of a user after events came.

    Attributes:
        num_entries: Of the history.
        unknown_items: The ids of events that the catalogue lacks, each once. They are kept where
            another model of the service knows them.
        cache: What the next list finds: ``hit`` where the history is encoded already, ``miss``
            where that is still to be done.
        model_name: Name of the model whose catalogue was asked, and which encodes.
        model_version: Version of its bundle.
    """

    num_entries: int
    unknown_items: tuple[str, ...]
    cache: CacheOutcome
    model_name: str
    model_version: str


@final
@dataclass(frozen=True, slots=True, eq=False)
class Users:
    """Changes what is kept of users.

    Attributes:
        recommender: Whose models, store and limits these are.
    """

    recommender: Recommender

    async def append(
        self,
        user_id: str,
        events: Sequence[Event],
        *,
        strict: bool = False,
        model: str | None = None,
    ) -> KeptUser:
        """Add events to a user's history, keep the newest entries, and encode the history anew.

        An event counts once however often it is sent, as long as an entry with its event id is
        kept. Of writers at the same time, in whatever process, none undoes another.

        Args:
            user_id: The customer's id.
            events: In the order in which they happened.
            strict: Whether an unknown item is an error, and nothing is kept.
            model: Name of the model to ask; None for the one that answers this user.

        Raises:
            HistoryTooLongError: More events than a history may have.
            UnknownItemsError: Items are unknown, and that is an error.
            UnknownModelError: The model named is not served.
            OverloadedError: The queue is full; nothing was kept.
            StoreUnavailableError: The store cannot take the events.
        """
        limit = self.recommender.limits.max_history
        if len(events) > limit:
            raise HistoryTooLongError("events", len(events), limit)
        served, _ = self.recommender.fleet.chosen(model, user_id)
        kept, unknown_items = _sorted_out(events, served, self.recommender.fleet.catalogs)
        if unknown_items and strict:
            raise UnknownItemsError(unknown_items)
        self._batcher.require_room()
        history = await self._append(user_id, kept, limit)
        self._telemetry.events.labels("taken").inc(len(kept))
        self._telemetry.events.labels("unknown").inc(len(events) - len(kept))
        is_encoded = await self._encode(user_id, history, served)
        return KeptUser(
            num_entries=len(history),
            unknown_items=unknown_items,
            cache="hit" if is_encoded else "miss",
            model_name=served.name,
            model_version=served.version,
        )

    async def forget(self, user_id: str) -> None:
        """Drop all that is kept of a user, under all models; a user of whom nothing is kept, too.

        That they were forgotten is known for a while (``write_order``), by a digest of their id:
        no history that was posted before comes back late.

        Raises:
            StoreUnavailableError: The store cannot be reached; it may still have the user.
        """
        try:
            await self._store.forget(user_id)
        except LatentStoreError as error:
            raise StoreUnavailableError("the user could not be forgotten") from error

    @property
    def _store(self) -> LatentStore:
        return self.recommender.store

    @property
    def _batcher(self) -> Batcher:
        return self.recommender.batcher

    @property
    def _telemetry(self) -> Telemetry:
        return self.recommender.telemetry

    async def _append(self, user_id: str, events: Sequence[Event], limit: int) -> KeptHistory:
        try:
            return await self._store.append(user_id, events, limit)
        except LatentStoreError as error:
            if isinstance(error, RecordRefusedError):
                self._telemetry.records_refused.labels(error.reason).inc()
            self._telemetry.events.labels("lost").inc(len(events))
            raise StoreUnavailableError("the events could not be kept") from error

    async def _encode(self, user_id: str, history: KeptHistory, served: Served) -> bool:
        """Have the next list find a latent; tell whether it will. The events are kept anyhow."""
        evidence = Evidence.remembered(history, served)
        if evidence.history is None or evidence.reason:
            return False
        user_index = served.user_index_of.get(user_id, UNKNOWN_USER)
        job = Job(Wanted(1, evidence.liked_N), evidence.history, None, user_index)
        with suppress(OverloadedError, DeadlineExceededError, LatentStoreError):
            outcome = await self._batcher.submit(served.engine, job)
            await self._store.put(evidence.record(user_id, served.digest, outcome.latent_D))
            return True
        return False


def _sorted_out(
    events: Sequence[Event], served: Served, catalogs: Sequence[Catalog]
) -> tuple[list[Event], tuple[str, ...]]:
    """Give what is kept, as any model knows it, and the ids that this one does not know."""
    index_of = served.catalog.index_of
    item_ids = [event.item_id for event in events]
    kept = list(compress(events, are_in_any(item_ids, catalogs)))
    unknown = dict.fromkeys(item_id for item_id in item_ids if item_id not in index_of)
    return kept, tuple(unknown)
