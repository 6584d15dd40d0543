"""The use case: from a query to a list, by the model or by the labelled fallback.

What comes from where is decided here; how it is computed, kept or sent is not known here.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self, final

import numpy as np
from numpy.typing import NDArray

from service.availability import Availability, always_available
from service.catalog import UNKNOWN_ITEM, Catalog
from service.deployment import Deployment, Served
from service.errors import (
    EmptyHistoryError,
    HistoryTooLongError,
    LatentStoreError,
    RecordRefusedError,
    TooManyResultsError,
    UnknownItemsError,
    UnknownUserError,
)
from service.evidence import NO_ITEMS, Evidence
from service.histories import UNKNOWN_USER
from service.inference.batcher import Batcher
from service.inference.engine import Job, Outcome
from service.latents.store import LatentStore, UserRecord
from service.recommendation import PostedHistory, Query, Reason, Recommendation
from service.retrieval.base import TopK, Wanted
from service.retrieval.popularity import most_popular
from service.telemetry import Telemetry

NOTHING_POSTED: Final = PostedHistory(())
SHORTCOMINGS: Final[dict[Reason, str]] = {
    "empty_history": "the history is empty",
    "no_known_items": "the model knows none of the items in the history",
    "no_liked_items": "every known item of the history is rated as not liked",
}


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
        if query.k > self.max_k:
            raise TooManyResultsError(query.k, self.max_k)
        lists = (
            ("history", query.history),
            ("exclude_items", query.exclude_items),
            ("candidate_items", query.candidate_items),
        )
        for field, entries in lists:
            if entries is not None and len(entries) > self.max_history:
                raise HistoryTooLongError(field, len(entries), self.max_history)


def random_id() -> str:
    """Draw 32 hex digits that no other list has."""
    return secrets.token_hex(16)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Recommender:
    """Answers queries.

    Attributes:
        deployment: Knows which model answers.
        batcher: Runs it.
        store: Keeps what users posted. The answer waits for its ``put``, which should only note
            the record and return.
        telemetry: Counts lists and what the store did.
        limits: How much one query may ask.
        availability: Tells what nobody may see now.
        new_id: Draws the ``recommendation_id``.
    """

    deployment: Deployment
    batcher: Batcher
    store: LatentStore
    telemetry: Telemetry
    limits: Limits
    availability: Availability = always_available
    new_id: Callable[[], str] = random_id

    async def recommend(self, query: Query, *, bulk: bool = False) -> Recommendation:
        """Answer with ``min(k, eligible)`` items, best first; bulk queries give way to others.

        Raises:
            InvalidRequestError: Its subclasses say what the caller can mend.
            UnknownModelError: The model named is not served.
            UnknownUserError: Nothing is posted or kept, and the fallback is off.
            OverloadedError: The queue is full.
            DeadlineExceededError: The model's turn came too late.
        """
        self.limits.check(query)
        served = self.deployment.served(query.model)
        known = _Translation.of(query, served.catalog)
        if known.unknown_items and query.strict:
            raise UnknownItemsError(known.unknown_items)
        evidence = await self._evidence(query, served, known.posted_N)
        shown_I = served.shelf.shown(query.categories, known.candidate_N, self.availability())
        wanted = Wanted(query.k, _hidden(query, known.excluded_N, evidence), shown_I)
        if evidence.reason:
            top = _fallback(query, served, evidence.reason, wanted)
        else:
            job = _job(query, served, evidence, wanted)
            outcome = await self.batcher.submit(served.engine, job, bulk=bulk)
            await self._keep(query, served, evidence, outcome)
            top = outcome.top
        self.telemetry.recommendations.labels(evidence.source, evidence.reason).inc()
        return Recommendation(
            top=top,
            catalog=served.catalog,
            source=evidence.source,
            reason=evidence.reason,
            unknown_items=known.unknown_items,
            cache=evidence.cache,
            model_name=served.name,
            model_version=served.version,
            recommendation_id=self.new_id(),
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
                evidence = (
                    Evidence.unknown_user("miss")
                    if record is None
                    else Evidence.kept(record, served.kept_dim, len(served.catalog))
                )
            except LatentStoreError as error:
                if isinstance(error, RecordRefusedError):
                    self.telemetry.records_refused.labels(error.reason).inc()
                evidence = Evidence.unknown_user("error")
        self.telemetry.cache.labels(evidence.cache).inc()
        return evidence

    async def _keep(
        self, query: Query, served: Served, evidence: Evidence, outcome: Outcome
    ) -> None:
        if query.user_id is None or evidence.cache != "bypass":
            return
        record = UserRecord(
            user_id=query.user_id,
            model_digest=served.digest,
            latent_D=outcome.latent_D,
            liked_N=evidence.liked_N,
            disliked_N=evidence.disliked_N,
        )
        try:
            with self.telemetry.stage_seconds.labels("store_put").time():
                await self.store.put(record)
        except LatentStoreError:
            self.telemetry.cache.labels("lost").inc()  # the caller has their list all the same


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Translation:
    """The items that a query names, as the catalogue knows them; each id is looked up once.

    Attributes:
        posted_N: int64, one an entry of the history, ``UNKNOWN_ITEM`` where the catalogue lacks it.
        excluded_N: int64, the excluded items that the catalogue has.
        candidate_N: int64, the candidates that the catalogue has; None: all items are.
        unknown_items: The ids that it lacks, each once, posted ones first.
    """

    posted_N: NDArray[np.int64]
    excluded_N: NDArray[np.int64]
    candidate_N: NDArray[np.int64] | None
    unknown_items: tuple[str, ...]

    @classmethod
    def of(cls, query: Query, catalog: Catalog) -> Self:
        posted = query.history or NOTHING_POSTED
        posted_N, unknown_items = catalog.indices(posted.item_ids)
        excluded_N, candidate_N = NO_ITEMS, None
        if query.exclude_items:
            excluded_N, unknown = catalog.indices(query.exclude_items)
            excluded_N = excluded_N[excluded_N != UNKNOWN_ITEM]
            unknown_items += unknown
        if query.candidate_items is not None:
            candidate_N, unknown = catalog.indices(query.candidate_items)
            candidate_N = candidate_N[candidate_N != UNKNOWN_ITEM]
            unknown_items += unknown
        return cls(posted_N, excluded_N, candidate_N, tuple(dict.fromkeys(unknown_items)))


def _hidden(query: Query, excluded_N: NDArray[np.int64], evidence: Evidence) -> NDArray[np.int64]:
    if not query.exclude_seen:
        return excluded_N
    hidden = [
        part_N for part_N in (evidence.liked_N, evidence.disliked_N, excluded_N) if len(part_N)
    ]
    return hidden[0] if len(hidden) == 1 else np.concatenate([NO_ITEMS, *hidden])


def _job(query: Query, served: Served, evidence: Evidence, wanted: Wanted) -> Job:
    user_index = UNKNOWN_USER
    if query.user_id is not None:
        user_index = served.user_index_of.get(query.user_id, UNKNOWN_USER)
    return Job(wanted, evidence.history, evidence.latent_D, user_index)


def _fallback(query: Query, served: Served, reason: Reason, wanted: Wanted) -> TopK:
    if query.fallback:
        # On the event loop: one pass over the catalogue, well under a millisecond at 100,000 items.
        return most_popular(served.catalog, wanted)
    if reason == "unknown_user":
        raise UnknownUserError("no history was posted, and none is kept for this user")
    raise EmptyHistoryError(SHORTCOMINGS[reason])
