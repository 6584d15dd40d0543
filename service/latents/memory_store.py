"""The latent store of one process: the users seen last, each for a while."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

from service.errors import RecordRefusedError
from service.latents import codec, history_codec
from service.latents.kept_history import NO_HISTORY, Event, KeptHistory, nothing_since
from service.latents.store import UserRecord
from service.latents.write_order import MARK_TTL_S, wall_clock_us


@final
@dataclass(frozen=True, slots=True)
class _Kept:
    """Of one user: the history, and by model what came of it."""

    history: bytes
    records: dict[str, bytes]
    expires_at_s: float


@final
class MemoryStore:
    """A ``LatentStore`` in a dict; to be used from the event loop's thread only.

    It keeps bytes, as Redis does: a third of the memory of the arrays (1.3 kB for 200 dimensions
    and 80 items), and no array is shared with whoever put it.
    """

    def __init__(
        self,
        capacity: int,
        ttl_s: float,
        clock: Callable[[], float],
        now_us: Callable[[], int] = wall_clock_us,
    ) -> None:
        """Make an empty store.

        Args:
            capacity: Users kept; the least recently used one makes room for the next.
            ttl_s: A user is gone so many seconds after the last posted history or event; reading
                does not renew them.
            clock: Gives seconds and never goes back, as ``time.monotonic`` does.
            now_us: Gives the time by which writes are ordered.
        """
        self._capacity = capacity
        self._ttl_s = ttl_s
        self._clock = clock
        self._now_us = now_us
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    @property
    def capacity(self) -> int:
        """Users kept at most."""
        return self._capacity

    @property
    def name(self) -> str:
        """``memory``."""
        return "memory"

    async def get(self, user_id: str, model_digest: str) -> UserRecord | None:
        """Give the record of this user under this model, or None.

        Raises:
            RecordRefusedError: What was kept is not that record; it is dropped.
        """
        kept = self._used(codec.key(user_id))
        value = kept and kept.records.get(codec.field(model_digest))
        if kept is None or value is None:
            return None
        try:
            return codec.decode(value, user_id, model_digest)
        except RecordRefusedError:
            del kept.records[codec.field(model_digest)]
            raise

    async def put(self, record: UserRecord) -> None:
        """Keep a record with its history.

        Raises:
            RecordRefusedError: The record cannot be kept, for example for a latent with a NaN.
        """
        key, posted = codec.key(record.user_id), record.history
        history = history_codec.encode(posted, record.user_id)
        records = {}
        if record.has_latent:
            records[codec.field(record.model_digest)] = codec.encode(record)
        kept = self._current(key)
        if record.is_derived:
            if kept is not None and kept.history == history:
                kept.records.update(records)
        elif kept is None or history_codec.changed_at_us(kept.history) <= posted.posted_at_us:
            self._keep(key, history, records, self._ttl_of(posted))
        else:
            await self._change(record.user_id, lambda kept: posted.under(kept, self._now_us()))

    async def history(self, user_id: str) -> KeptHistory:
        """Give what is kept of what the user did; an empty history where nothing is.

        Raises:
            RecordRefusedError: What was kept is no history of this user; they are dropped.
        """
        key = codec.key(user_id)
        kept = self._used(key)
        if kept is None:
            return NO_HISTORY
        try:
            return history_codec.decode(kept.history, user_id)
        except RecordRefusedError:
            del self._kept[key]
            raise

    async def append(self, user_id: str, events: Sequence[Event], limit: int) -> KeptHistory:
        """Add events to the user's history; no other writer gets a turn in between.

        Raises:
            RecordRefusedError: What was kept is no history of this user, or what comes of it
                cannot be kept.
        """
        return await self._change(
            user_id, lambda kept: kept.with_events(events, limit, self._now_us())
        )

    async def forget(self, user_id: str) -> None:
        """Drop all that is kept of a user, and note for a while that they were forgotten."""
        nothing = nothing_since(self._now_us())
        value = history_codec.encode(nothing, user_id)
        self._keep(codec.key(user_id), value, {}, self._ttl_of(nothing))

    def drop(self, user_id: str) -> None:
        """Lose what is kept of a user, as if it had expired."""
        self._kept.pop(codec.key(user_id), None)

    async def ping(self) -> None:
        """Answer at once: there is nothing that could be away."""

    async def close(self) -> None:
        """Forget everybody."""
        self._kept.clear()

    async def _change(
        self, user_id: str, change: Callable[[KeptHistory], KeptHistory]
    ) -> KeptHistory:
        before = await self.history(user_id)
        after = change(before)
        if after is not before:
            value = history_codec.encode(after, user_id)
            self._keep(codec.key(user_id), value, {}, self._ttl_of(after))
        return after

    def _ttl_of(self, history: KeptHistory) -> float:
        return self._ttl_s if len(history) else MARK_TTL_S

    def _keep(self, key: str, history: bytes, records: dict[str, bytes], ttl_s: float) -> None:
        self._kept[key] = _Kept(history, records, self._clock() + ttl_s)
        self._kept.move_to_end(key)
        while len(self._kept) > self._capacity:
            self._kept.popitem(last=False)

    def _used(self, key: str) -> _Kept | None:
        kept = self._current(key)
        if kept is not None:
            self._kept.move_to_end(key)
        return kept

    def _current(self, key: str) -> _Kept | None:
        kept = self._kept.get(key)
        if kept is not None and kept.expires_at_s <= self._clock():
            del self._kept[key]
            return None
        return kept
