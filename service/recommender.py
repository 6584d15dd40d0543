"""The use case: from a query to a list, by the model or by the labelled fallback.

What comes from where is decided here; how it is computed, kept or sent is not known here.
"""

import secrets
from collections.abc import Callable, Sequence
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
    UnsupportedControlError,
)
from service.evidence import NO_ITEMS, Evidence
from service.histories import UNKNOWN_USER
from service.inference.batcher import Batcher
from service.inference.engine import Job, Outcome
from service.latents.kept_history import KeptHistory
from service.latents.store import LatentStore
from service.recommendation import NO_CONTROLS, PostedHistory, Query, Reason, Recommendation
from service.refiner import NO_WISH, Wish
from service.reranking.taste import Taste
from service.retrieval.base import TopK, Wanted
from service.retrieval.popularity import most_popular
from service.telemetry import Telemetry

NOTHING_POSTED: Final = PostedHistory(())
MAX_REFINED_K: Final = 100
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
        wish = _wish(query, served, known.disliked_N)
        shown_I = served.shelf.shown(query.categories, known.candidate_N, self.availability())
        wanted = Wanted(query.k, _hidden(query, known, evidence), shown_I)
        causes = None
        if evidence.reason:
            top = _fallback(query, served, evidence.reason, wanted)
        else:
            job = _job(query, served, evidence, wanted, wish)
            outcome = await self.batcher.submit(served.engine, job, bulk=bulk)
            await self._keep(query, served, evidence, outcome)
            top, causes = outcome.top, outcome.causes
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
            causes=causes,
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
        self.telemetry.cache.labels(evidence.cache).inc()
        return evidence

    async def _keep(
        self, query: Query, served: Served, evidence: Evidence, outcome: Outcome
    ) -> None:
        if query.user_id is None or evidence.history is None or evidence.cache == "hit":
            return
        posted = KeptHistory.of_known(query.history or NOTHING_POSTED, served.catalog)
        record = evidence.record(query.user_id, served.digest, outcome.latent_D, posted)
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
        disliked_N: int64, the disliked items that the catalogue has.
        unknown_items: The ids that it lacks, each once, posted ones first.
    """

    posted_N: NDArray[np.int64]
    excluded_N: NDArray[np.int64]
    candidate_N: NDArray[np.int64] | None
    disliked_N: NDArray[np.int64]
    unknown_items: tuple[str, ...]

    @classmethod
    def of(cls, query: Query, catalog: Catalog) -> Self:
        posted = query.history or NOTHING_POSTED
        posted_N, unknown_items = catalog.indices(posted.item_ids)
        excluded_N, unknown_excluded = _known(catalog, query.exclude_items)
        candidate_N, unknown_candidates = _known(catalog, query.candidate_items or ())
        disliked_N, unknown_disliked = _known(catalog, query.controls.dislikes)
        unknown = (*unknown_items, *unknown_excluded, *unknown_candidates, *unknown_disliked)
        return cls(
            posted_N,
            excluded_N,
            None if query.candidate_items is None else candidate_N,
            disliked_N,
            tuple(dict.fromkeys(unknown)),
        )


def _known(catalog: Catalog, item_ids: Sequence[str]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Translate ids; the known ones, and the ids that are not."""
    if not item_ids:  # as a rule: of three lists a request, and for the sake of the hot path
        return NO_ITEMS, ()
    index_N, unknown = catalog.indices(item_ids)
    return (index_N[index_N != UNKNOWN_ITEM] if unknown else index_N), unknown


def _hidden(query: Query, known: _Translation, evidence: Evidence) -> NDArray[np.int64]:
    parts = [known.excluded_N, known.disliked_N]
    if query.exclude_seen:
        parts = [evidence.liked_N, evidence.disliked_N, *parts]
    hidden = [part_N for part_N in parts if len(part_N)]
    return hidden[0] if len(hidden) == 1 else np.concatenate([NO_ITEMS, *hidden])


def _wish(query: Query, served: Served, disliked_N: NDArray[np.int64]) -> Wish:
    """Read the controls, and refuse those that the model has nothing for.

    Raises:
        UnsupportedControlError: Names the control.
    """
    controls = query.controls
    if controls == NO_CONTROLS:
        return EXPLAINING if query.explain else NO_WISH
    if controls.exploration and not served.has_posterior:
        raise UnsupportedControlError("exploration", served.name, "a posterior to draw from")
    if not served.has_item_vectors:
        for field, value in ("diversity", controls.diversity), ("dislikes", controls.dislikes):
            if value:
                raise UnsupportedControlError(field, served.name, "vectors of items")
    taste = Taste(
        diversity=controls.diversity,
        popularity_penalty=controls.popularity_penalty,
        calibration=controls.calibration,
        dislikes=DISLIKES_WEIGHT if len(disliked_N) else 0.0,
    )
    seed = secrets.randbits(32) if controls.seed is None else controls.seed
    return Wish(taste, disliked_N, controls.exploration, seed, query.explain)


def _job(query: Query, served: Served, evidence: Evidence, wanted: Wanted, wish: Wish) -> Job:
    user_index = UNKNOWN_USER
    if query.user_id is not None:
        user_index = served.user_index_of.get(query.user_id, UNKNOWN_USER)
    return Job(wanted, evidence.history, evidence.latent_D, user_index, wish)


def _fallback(query: Query, served: Served, reason: Reason, wanted: Wanted) -> TopK:
    if query.fallback:
        # On the event loop: one pass over the catalogue, well under a millisecond at 100,000 items.
        return most_popular(served.catalog, wanted)
    if reason == "unknown_user":
        raise UnknownUserError("no history was posted, and none is kept for this user")
    raise EmptyHistoryError(SHORTCOMINGS[reason])
