"""What a user did, by the customer's ids: a history that outlives the model that read it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Final, Self, final

from service.catalog import Catalog
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
    """

    entries: PostedHistory
    marks: tuple[bytes, ...] = ()

    @classmethod
    def of_known(cls, posted: PostedHistory, catalogs: Sequence[Catalog]) -> Self:
        """Take a posted history, without the entries whose items every catalogue lacks."""
        is_known = are_in_any(posted.item_ids, catalogs)
        if all(is_known):
            return cls(posted)
        return cls(
            PostedHistory(
                tuple(compress(posted.item_ids, is_known)),
                posted.ratings and tuple(compress(posted.ratings, is_known)),
                posted.weights and tuple(compress(posted.weights, is_known)),
            )
        )

    def __len__(self) -> int:
        return len(self.entries)

    def with_events(self, events: Sequence[Event], limit: int) -> Self:
        """Add events at the end, and let the oldest entries go.

        An event whose id an entry has is passed over, as is one that stands twice in ``events``.
        How far back repetition is noticed is thus bounded by ``limit``, too.

        Args:
            events: In the order in which they happened.
            limit: Entries kept at most, at least 1.

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
        had_marks = any(mark != NO_MARK for mark in marks)
        return type(self)(_grown(self.entries, fresh, limit), marks if had_marks else ())


NO_HISTORY: Final = KeptHistory(PostedHistory(()))


def _grown(entries: PostedHistory, fresh: Sequence[Event], limit: int) -> PostedHistory:
    ratings = entries.ratings or (None,) * len(entries)
    weights = entries.weights or (1.0,) * len(entries)
    return PostedHistory.of_columns(
        (*entries.item_ids, *(event.item_id for event in fresh))[-limit:],
        (*ratings, *(event.rating for event in fresh))[-limit:],
        (*weights, *(event.weight for event in fresh))[-limit:],
    )


def _mark(event_id: str | None) -> bytes:
    if event_id is None:
        return NO_MARK
    # JSON may carry half of a surrogate pair, which plain UTF-8 refuses.
    text = event_id.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=MARK_BYTES).digest()
