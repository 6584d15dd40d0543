"""What a user did, by the customer's ids: a history that outlives the model that read it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import Final, Self, final

from service.catalog import Catalog
from service.latents.write_order import LATEST_US, MAX_SKEW_US
from service.recommendation import PostedHistory

MARK_BYTES: Final = 16
# Of an entry that came without an event id.
NO_MARK: Final = bytes(MARK_BYTES)


@final
@dataclass(frozen=True, slots=True)
class Event:
    """One interaction that adds to a history; an ``event_id`` makes it safe to send again."""

    item_id: str
    rating: float | None = None
    weight: float = 1.0
    event_id: str | None = None


def are_in_any(item_ids: Sequence[str], catalogs: Sequence[Catalog]) -> list[bool]:
    """Tell of each item whether a catalogue has it."""
    found = [map(catalog.index_of.__contains__, item_ids) for catalog in catalogs]
    return [any(one) for one in zip(*found, strict=True)]


@final
@dataclass(frozen=True, slots=True)
class KeptHistory:
    """The interactions of a user, the oldest first.

    It means what a posted history with the same entries means.

    Attributes:
        entries: What happened.
        marks: One an entry, made of its event id, ``NO_MARK`` where it had none; empty where no
            entry had one.
        posted_at_us: When it was posted as a whole, or the user forgotten; 0: it is of events
            alone. Events may have been added since (``write_order`` has what the times are for).
        event_times_us: When the newest entries were added, ascending, each time another one; of
            an entry before them no write could be so late that it mattered.
    """

    entries: PostedHistory
    marks: tuple[bytes, ...] = ()
    posted_at_us: int = 0
    event_times_us: tuple[int, ...] = ()

    @classmethod
    def of_known(
        cls, posted: PostedHistory, catalogs: Sequence[Catalog], posted_at_us: int = 0
    ) -> Self:
        """Take a posted history, without the entries whose items every catalogue lacks."""
        is_known = are_in_any(posted.item_ids, catalogs)
        if not all(is_known):
            posted = PostedHistory(
                tuple(compress(posted.item_ids, is_known)),
                posted.ratings and tuple(compress(posted.ratings, is_known)),
                posted.weights and tuple(compress(posted.weights, is_known)),
            )
        return cls(posted, posted_at_us=posted_at_us)

    @property
    def changed_at_us(self) -> int:
        """When it was posted, or the newest event added."""
        return self.event_times_us[-1] if self.event_times_us else self.posted_at_us

    def __len__(self) -> int:
        return len(self.entries)

    def under(self, later: Self, now_us: int) -> Self:
        """Put this history, which was posted and is written late, under what came after it.

        The limit of entries is not known here: what comes of it may be longer until the next
        event.

        Args:
            later: What is kept when the write arrives.
            now_us: When that is.

        Returns:
            ``later`` itself where a newer history or a deletion had taken the place of this one;
            this one itself where no event came after it.
        """
        if later.changed_at_us > now_us + MAX_SKEW_US:
            return self
        if later.posted_at_us > self.posted_at_us:
            return later
        times_us = tuple(at_us for at_us in later.event_times_us if at_us > self.posted_at_us)
        if not times_us:
            return self
        count = len(times_us)
        marks = later.marks[-count:]
        return type(self)(
            _joined(self.entries, _newest(later.entries, count)),
            (NO_MARK,) * len(self) + marks if _says_any(marks) else (),
            self.posted_at_us,
            times_us,
        )

    def with_events(self, events: Sequence[Event], limit: int, now_us: int = 0) -> Self:
        """Add events at the end, and let the oldest entries go.

        An event whose id an entry has is passed over, as is one that stands twice in ``events``.
        How far back repetition is noticed is thus bounded by ``limit``, too.

        Args:
            events: In the order in which they happened.
            limit: Entries kept at most, at least 1.
            now_us: When that is. A time that is not after what is here already gives way to the
                next one that is.

        Returns:
            The history that has grown; this one itself where no event is new.
        """
        marks = self.marks or (NO_MARK,) * len(self)
        seen = set(marks) - {NO_MARK}
        fresh: list[Event] = []
        fresh_marks: list[bytes] = []
        for event in events:
            mark = _mark(event.event_id)
            if mark in seen:
                continue
            if mark != NO_MARK:
                seen.add(mark)
            fresh.append(event)
            fresh_marks.append(mark)
        if not fresh:
            return self
        marks = (*marks, *fresh_marks)[-limit:]
        first_us = max(now_us, self.changed_at_us + 1)
        recent_us = [at_us for at_us in self.event_times_us if at_us > first_us - LATEST_US]
        return type(self)(
            _newest(_joined(self.entries, PostedHistory.of(fresh)), limit),
            marks if _says_any(marks) else (),
            self.posted_at_us,
            (*recent_us, *range(first_us, first_us + len(fresh)))[-limit:],
        )


NO_HISTORY: Final = KeptHistory(PostedHistory(()))


def nothing_since(forgotten_at_us: int) -> KeptHistory:
    """Give what is kept of a user who was forgotten: when that was."""
    return replace(NO_HISTORY, posted_at_us=forgotten_at_us)


def _joined(older: PostedHistory, newer: PostedHistory) -> PostedHistory:
    ratings = [part.ratings or (None,) * len(part) for part in (older, newer)]
    weights = [part.weights or (1.0,) * len(part) for part in (older, newer)]
    return PostedHistory.of_columns(
        older.item_ids + newer.item_ids, ratings[0] + ratings[1], weights[0] + weights[1]
    )


def _newest(entries: PostedHistory, count: int) -> PostedHistory:
    """Give the last entries, at least one."""
    if len(entries) <= count:
        return entries
    return PostedHistory.of_columns(
        entries.item_ids[-count:],
        (entries.ratings or (None,) * len(entries))[-count:],
        (entries.weights or (1.0,) * len(entries))[-count:],
    )


def _says_any(marks: Sequence[bytes]) -> bool:
    return any(mark != NO_MARK for mark in marks)


def _mark(event_id: str | None) -> bytes:
    if event_id is None:
        return NO_MARK
    # JSON may carry half of a surrogate pair, which plain UTF-8 refuses.
    text = event_id.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=MARK_BYTES).digest()
