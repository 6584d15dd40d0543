"""Writes that nobody waits for: a posted history is answered, however the store is."""

import asyncio
from collections.abc import Callable, Sequence
from typing import final

from service.errors import LatentStoreError
from service.latents import codec
from service.latents.kept_history import Event, KeptHistory
from service.latents.store import LatentStore, UserRecord


@final
class WriteBehind:
    """A ``LatentStore`` before another one: ``put`` notes the record, a task writes it.

    One write is under way at a time, so that two records of a user arrive in order. What is
    noted and not yet written is answered from the note; what another process writes meanwhile is
    the matter of the store behind (``write_order``). To be used from one event loop.
    """

    def __init__(
        self,
        store: LatentStore,
        max_pending: int,
        on_outcome: Callable[[str], None],
        flush_timeout_s: float = 1.0,
    ) -> None:
        """Stand before a store.

        Args:
            store: Where the records go. It is closed with this one.
            max_pending: Records noted at most; beyond, the oldest one is dropped.
            on_outcome: Told ``written`` or ``lost`` for every record, but for one that a newer
                record of its user, or a deletion, overtakes before it is written.
            flush_timeout_s: How long ``close`` goes on writing.
        """
        self._store = store
        self._max_pending = max_pending
        self._on_outcome = on_outcome
        self._flush_timeout_s = flush_timeout_s
        self._pending: dict[str, UserRecord] = {}  # by user, oldest first
        self._under_way: dict[str, UserRecord] = {}  # at most one
        self._write_ended = asyncio.Event()  # of the write under way, or else of the next one
        self._writer: asyncio.Task[None] | None = None
        self._is_closed = False

    @property
    def name(self) -> str:
        """The name of the store behind."""
        return self._store.name

    async def get(self, user_id: str, model_digest: str) -> UserRecord | None:
        """Give the newest record of this user under this model, or None.

        Raises:
            LatentStoreError: As the store behind does.
        """
        for noted in self._noted(codec.key(user_id)):
            if noted.model_digest == model_digest and noted.has_latent:
                return noted
            if not noted.is_derived:  # which leaves nothing of what the store has
                return None
        return await self._store.get(user_id, model_digest)

    async def put(self, record: UserRecord) -> None:
        """Note a record, to be written soon; waits for nothing and never fails.

        One record a user is noted: a posted history makes others needless, and what is derived
        can be derived again.
        """
        if self._is_closed:
            self._on_outcome("lost")
            return
        key = codec.key(record.user_id)
        noted = self._pending.get(key)
        if record.is_derived and noted is not None and not noted.is_derived:
            return  # what it was derived from is about to go
        if not record.is_derived and self._is_overtaken(key, record):
            return
        # A newer record takes the place of the noted one in the row, not the last place: who
        # posts all the time gets written all the same.
        self._pending[key] = record
        if len(self._pending) > self._max_pending:
            del self._pending[next(iter(self._pending))]
            self._on_outcome("lost")
        self._begin_writing()

    async def history(self, user_id: str) -> KeptHistory:
        """Give the newest history of this user.

        Raises:
            LatentStoreError: As the store behind does.
        """
        for noted in self._noted(codec.key(user_id)):
            if not noted.is_derived:
                return noted.history
        return await self._store.history(user_id)

    async def append(self, user_id: str, events: Sequence[Event], limit: int) -> KeptHistory:
        """Add events to the user's history at once, after what is noted of that user.

        Raises:
            LatentStoreError: As the store behind does.
        """
        key = codec.key(user_id)
        while self._noted(key):
            if key in self._pending:  # somebody waits for this one
                self._pending = {key: self._pending.pop(key)} | self._pending
            self._begin_writing()
            await self._write_ended.wait()
        return await self._store.append(user_id, events, limit)

    async def forget(self, user_id: str) -> None:
        """Drop all that is kept of a user.

        Raises:
            LatentStoreError: As the store behind does; the user may still be there.
        """
        key = codec.key(user_id)
        self._pending.pop(key, None)
        if key in self._under_way:
            await self._write_ended.wait()  # else the note of it could be read after the deletion
        await self._store.forget(user_id)

    async def ping(self) -> None:
        """Ask whether the store behind answers.

        Raises:
            LatentStoreError: It does not.
        """
        await self._store.ping()

    async def close(self) -> None:
        """Write what is noted, for ``flush_timeout_s`` at most; then close the store behind."""
        self._is_closed = True
        writer, self._writer = self._writer, None
        try:
            if writer is not None:
                await asyncio.wait({writer}, timeout=self._flush_timeout_s)
                self._drop_pending()  # before the writer is stopped: it must find no more
                writer.cancel()
                await asyncio.wait({writer})
        finally:
            await self._store.close()

    def _noted(self, key: str) -> list[UserRecord]:
        """Give what is noted of a user and not yet written, the newest first."""
        notes = (self._pending.get(key), self._under_way.get(key))
        return [record for record in notes if record is not None]

    def _is_overtaken(self, key: str, record: UserRecord) -> bool:
        """Tell whether a history that was posted later has been answered before this one."""
        return any(
            not noted.is_derived and noted.history.posted_at_us > record.history.posted_at_us
            for noted in self._noted(key)
        )

    def _begin_writing(self) -> None:
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_pending())

    def _drop_pending(self) -> None:
        while self._pending:
            self._pending.popitem()
            self._on_outcome("lost")

    async def _write_pending(self) -> None:
        while self._pending:
            key = next(iter(self._pending))
            record = self._under_way[key] = self._pending.pop(key)
            outcome = "lost"
            try:
                await self._store.put(record)
                outcome = "written"
            except LatentStoreError:
                pass  # counted below; the history can be posted again
            finally:
                del self._under_way[key]
                self._write_ended.set()
                self._write_ended = asyncio.Event()
                self._on_outcome(outcome)
