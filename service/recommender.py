"""The use case: from a query to a list, by the model or by the labelled fallback.

What comes from where is decided here; how it is computed, kept or sent is not known here.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from service.availability import Availability, always_available
from service.deployment import Served
from service.errors import LatentStoreError, RecordRefusedError, UnknownItemsError
from service.evidence import Evidence
from service.fleet import Fleet
from service.inference.batcher import Batcher
from service.known_items import KnownItems
from service.latents.kept_history import KeptHistory
from service.latents.store import NO_LATENT, LatentStore
from service.latents.write_order import wall_clock_us
from service.limits import Limits
from service.question import Question, hidden_items, wish_of
from service.recommendation import NOTHING_POSTED, Query, Recommendation
from service.retrieval.base import Wanted
from service.telemetry import Telemetry


def random_id() -> str:
    """Draw 32 hex digits that no other list has."""
    return secrets.token_hex(16)


def unwatched(query: Query, recommendation: Recommendation) -> None:
    """Let a list go by unnoted."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Recommender:
    """Answers queries.

    Attributes:
        fleet: Knows which model answers.
        batcher: Runs it.
        store: Keeps what users posted. The answer waits for its ``put``, which should only note
            the record and return.
        telemetry: Counts lists and what the store did.
        limits: How much one query may ask.
        availability: Tells what nobody may see now.
        new_id: Draws the ``recommendation_id``.
        now_us: Gives the time at which a history was posted, in microseconds since 1970.
        on_list: Hears of every list but those of bulk queries; may not wait.
    """

    fleet: Fleet
    batcher: Batcher
    store: LatentStore
    telemetry: Telemetry
    limits: Limits
    availability: Availability = always_available
    new_id: Callable[[], str] = random_id
    now_us: Callable[[], int] = wall_clock_us
    on_list: Callable[[Query, Recommendation], None] = unwatched

    async def recommend(self, query: Query, *, bulk: bool = False) -> Recommendation:
        """Answer with ``min(k, eligible)`` items, best first; bulk queries give way to others.

        A history that is posted with a user id and answered takes the place of the kept one, also
        where this model can make nothing of it and the fallback answers: another one may, and what
        was kept before is no longer what the user did. Of its entries those stay that any model
        knows; where none does, an empty history is kept.

        Raises:
            InvalidRequestError: Its subclasses say what the caller can mend.
            UnknownModelError: The model named is not served.
            UnknownUserError: Nothing is posted or kept, and the fallback is off.
            OverloadedError: The queue is full.
            DeadlineExceededError: The model's turn came too late.
        """
        self.limits.check(query)
        received_at_us = self.now_us()
        served, variant = self.fleet.chosen(query.model, query.user_id)
        question = await self._question(query, served)
        evidence = question.evidence
        self.telemetry.cache.labels(evidence.cache).inc()
        if evidence.reason:
            top, causes, latent_D = question.fallback(), None, NO_LATENT
        else:
            outcome = await self.batcher.submit(served.engine, question.job, bulk=bulk)
            top, causes, latent_D = outcome.top, outcome.causes, outcome.latent_D
        await self._keep(question, latent_D, received_at_us)
        self._count(evidence, variant)
        recommendation = Recommendation(
            top=top,
            catalog=served.catalog,
            source=evidence.source,
            reason=evidence.reason,
            unknown_items=question.known.unknown_items,
            cache=evidence.cache,
            model_name=served.name,
            model_version=served.version,
            recommendation_id=self.new_id(),
            causes=causes,
            variant=variant,
        )
        if not bulk:
            self.on_list(query, recommendation)
        return recommendation

    async def preview(self, query: Query, model: str) -> list[str] | None:
        """Tell which items a model would list for a query that another one has answered.

        Nothing of it is kept, no list is counted, and it gives way to others like bulk queries.

        Returns:
            None: The model knows too little of the user.

        Raises:
            FoldinError: As of ``recommend``.
        """
        question = await self._question(query, self.fleet.served(model))
        if question.evidence.reason:
            return None
        served = question.served  # by whose catalogue its items are named: it may be exchanged
        outcome = await self.batcher.submit(served.engine, question.job, bulk=True)
        return [served.catalog.item_ids[index] for index in outcome.top.item_index_K.tolist()]

    async def _question(self, query: Query, served: Served) -> Question:
        known = KnownItems.of(query, served.catalog)
        if known.unknown_items and query.strict:
            raise UnknownItemsError(known.unknown_items)
        evidence = await self._evidence(query, served, known.posted_N)
        shown_I = served.shelf.shown(query.categories, known.candidate_N, self.availability())
        return Question(
            query=query,
            served=served,
            known=known,
            evidence=evidence,
            wanted=Wanted(query.k, hidden_items(query, known, evidence), shown_I),
            wish=wish_of(query, served, known.disliked_N),
        )

    async def _evidence(
        self, query: Query, served: Served, posted_N: NDArray[np.int64]
    ) -> Evidence:
        """Take what was posted, else look up what is kept; a broken store keeps nothing."""
        if query.history is not None or query.user_id is None:
            posted = query.history or NOTHING_POSTED
            evidence = Evidence.posted(
                posted, posted_N, served.positive_threshold, served.rating_scale
            )
        else:
            try:
                with self.telemetry.stage_seconds.labels("store_get").time():
                    record = await self.store.get(query.user_id, served.digest)
                # A user whose row the model has but whose items it lacks is unknown all the
                # same: what they have seen could not be hidden.
                if record is None:
                    history = await self.store.history(query.user_id)
                    evidence = Evidence.remembered(history, served)
                else:
                    evidence = Evidence.kept(record, served.kept_dim, len(served.catalog))
                    if query.needs_history and evidence.history is None:
                        history = await self.store.history(query.user_id)
                        evidence = evidence.with_history(history, served)
            except LatentStoreError as error:
                if isinstance(error, RecordRefusedError):
                    self.telemetry.records_refused.labels(error.reason).inc()
                evidence = Evidence.unknown_user("error")
        return evidence

    async def _keep(
        self, question: Question, latent_D: NDArray[np.float32], received_at_us: int
    ) -> None:
        query, evidence = question.query, question.evidence
        is_news = query.history is not None or (evidence.cache == "miss" and not evidence.reason)
        if query.user_id is None or not is_news:
            return
        posted = KeptHistory.of_known(
            query.history or NOTHING_POSTED, self.fleet.catalogs, received_at_us
        )
        record = evidence.record(query.user_id, question.served.digest, latent_D, posted)
        try:
            with self.telemetry.stage_seconds.labels("store_put").time():
                await self.store.put(record)
        except LatentStoreError:
            self.telemetry.cache.labels("lost").inc()  # the caller has their list all the same

    def _count(self, evidence: Evidence, variant: str | None) -> None:
        self.telemetry.recommendations.labels(evidence.source, evidence.reason).inc()
        if variant is not None:
            self.telemetry.variants.labels(variant, evidence.source).inc()
