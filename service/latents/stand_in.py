"""The store that takes over in this process while the shared one is out."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Final, TypeVar, final

from service.errors import LatentStoreError, RecordRefusedError
from service.latents import codec
from service.latents.circuit_breaker import CircuitBreaker, State
from service.latents.kept_history import NO_HISTORY, Event, KeptHistory
from service.latents.memory_store import MemoryStore
from service.latents.store import LatentStore, UserRecord

# So often an outage is looked at: it ends for us so much later than for Redis.
PROBE_EVERY_S: Final = 1.0
LEFT_ALONE: Final = "the store is out, and left alone for a moment"

T = TypeVar("T")


@final
class StandIn:
    """A ``LatentStore`` before a shared one, with a local one beside it.

    What the shared store does not take is kept locally, found there, and handed over when the
    shared store is back; from then on nothing is kept here. The shared store puts what is handed
    over under what other processes have written since (``write_order``). Reading and writing have
    a breaker each: a full Redis can still be read. To be used from one event loop.
    """

    def __init__(
        self,
        shared: LatentStore,
        local: MemoryStore,
        clock: Callable[[], float],
        on_state: Callable[[str, State], None],
        probe_every_s: float = PROBE_EVERY_S,
    ) -> None:
        """Stand beside a store.

        Args:
            shared: The store for everything while it works. It is closed with this one.
            local: An empty store of this one's own. What has expired there is not handed over:
                its time to live is ``LATEST_S`` at most.
            clock: Gives seconds and never goes back, as ``time.monotonic`` does.
            on_state: Told the state of the breakers ``read`` and ``write``, now and when it
                changes.
            probe_every_s: How often an outage is looked at. No request waits for that.
        """
        self._shared = shared
        self._local = local
        # Half the time: no look comes a hair too early and then has to wait for the next one.
        self._reads = CircuitBreaker("read", probe_every_s / 2, clock, on_state)
        self._writes = CircuitBreaker("write", probe_every_s / 2, clock, on_state)
        self._probe_every_s = probe_every_s
        # By user, least recently used first, as in the local store: whose record that is. The
        # pair is made anew for each record, and tells it from the one before.
        self._owed: OrderedDict[str, tuple[str, str]] = OrderedDict()
        self._handing_over = asyncio.Lock()
        self._probing: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """The name of the shared store."""
        return self._shared.name

    async def get(self, user_id: str, model_digest: str) -> UserRecord | None:
        """Give the record of this user under this model, or None.

        Raises:
            LatentStoreError: As the shared store does; or it is out, and nothing was put here.
        """
        if (await self._owed_history(user_id)) is not None:
            # Where another model encoded it: what the shared store has is of the history before.
            return await self._local.get(user_id, model_digest)
        return await self._read(lambda: self._shared.get(user_id, model_digest))

    async def history(self, user_id: str) -> KeptHistory:
        """Give what is kept of what the user did; an empty history where nothing is.

        Raises:
            LatentStoreError: As the shared store does; or it is out, and nothing was put here.
        """
        owed = await self._owed_history(user_id)
        if owed is not None:
            return owed
        return await self._read(lambda: self._shared.history(user_id))

    async def put(self, record: UserRecord) -> None:
        """Keep a record, in the shared store or here.

        Raises:
            RecordRefusedError: It cannot be kept anywhere.
            LatentStoreError: It is derived from what the shared store has, which is out.
        """
        key = codec.key(record.user_id)
        is_owed = key in self._owed
        # Behind an older record that is still to be handed over, not past it.
        if self._writes.is_closed and not is_owed:
            try:
                await self._shared.put(record)
            except RecordRefusedError:
                raise
            except LatentStoreError:
                self._writes.failed()
                if record.is_derived:
                    self._watch()
                    raise
            else:
                self._writes.succeeded()
                return
        elif record.is_derived and not is_owed:
            raise LatentStoreError(LEFT_ALONE)
        await self._local.put(record)
        if not record.is_derived:
            self._owe(key, record)
        self._watch()

    async def append(self, user_id: str, events: Sequence[Event], limit: int) -> KeptHistory:
        """Add events to the user's history in the shared store: they are never kept here alone.

        Raises:
            LatentStoreError: As the shared store does; or it is out, or a history of this user is
                still to be handed over.
        """
        if not self._writes.is_closed or codec.key(user_id) in self._owed:
            self._watch()
            raise LatentStoreError(LEFT_ALONE)
        try:
            grown = await self._shared.append(user_id, events, limit)
        except RecordRefusedError:
            raise
        except LatentStoreError:
            self._writes.failed()
            self._watch()
            raise
        self._writes.succeeded()
        return grown

    async def forget(self, user_id: str) -> None:
        """Drop all that is kept of a user.

        Raises:
            LatentStoreError: The shared store failed; it may still have the user.
        """
        async with self._handing_over:  # else that could come after the deletion, by a wrong clock
            self._owed.pop(codec.key(user_id), None)
            self._local.drop(user_id)
            await self._shared.forget(user_id)

    async def ping(self) -> None:
        """Ask whether the shared store answers.

        Raises:
            LatentStoreError: It does not.
        """
        await self._shared.ping()

    async def close(self) -> None:
        """Close both stores; what is kept here is lost."""
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.wait({self._probing})
        await self._local.close()
        await self._shared.close()

    async def _owed_history(self, user_id: str) -> KeptHistory | None:
        """Give the history that the shared store lacks; None: there is none, or it has expired."""
        key = codec.key(user_id)
        if key not in self._owed:
            return None
        self._owed.move_to_end(key)
        history = await self._local.history(user_id)
        return None if history == NO_HISTORY else history

    async def _read(self, operation: Callable[[], Coroutine[None, None, T]]) -> T:
        if not self._reads.is_closed:
            self._watch()
            raise LatentStoreError(LEFT_ALONE)
        try:
            found = await operation()
        except RecordRefusedError:
            self._reads.succeeded()  # it answers; what it answers is another matter
            raise
        except LatentStoreError:
            self._reads.failed()
            self._watch()
            raise
        self._reads.succeeded()
        return found

    def _owe(self, key: str, record: UserRecord) -> None:
        self._owed.pop(key, None)
        self._owed[key] = (record.user_id, record.model_digest)
        if len(self._owed) > self._local.capacity:
            self._owed.popitem(last=False)

    def _watch(self) -> None:
        """Have a task see to it that the outage ends."""
        if self._probing is None or self._probing.done():
            self._probing = asyncio.create_task(self._watch_until_over())

    async def _watch_until_over(self) -> None:
        while self._owed or not (self._reads.is_closed and self._writes.is_closed):
            await asyncio.sleep(self._probe_every_s)
            await self._probe(self._reads, self._shared.ping)
            await self._probe(self._writes, self._hand_over_one)
            while self._owed and self._writes.is_closed:
                try:
                    await self._hand_over_one()
                except LatentStoreError:
                    self._writes.failed()
                    break
                self._writes.succeeded()

    async def _probe(
        self, breaker: CircuitBreaker, operation: Callable[[], Coroutine[None, None, None]]
    ) -> None:
        if not breaker.begins_probe():
            return
        succeeded = False
        try:
            await operation()
            succeeded = True
        except LatentStoreError:
            pass  # as expected all through an outage
        finally:
            breaker.end_probe(succeeded=succeeded)

    async def _hand_over_one(self) -> None:
        """Write the record that is owed the longest; with none, ask whether the store answers."""
        async with self._handing_over:
            if not self._owed:
                await self._shared.ping()
                return
            key, owed = next(iter(self._owed.items()))
            # To the end: one that is never taken must not bar the others.
            self._owed.move_to_end(key)
            history = await self._local.history(owed[0])
            if history != NO_HISTORY:
                record = await self._local.get(*owed)
                if record is None:  # the model could make nothing of the history
                    record = UserRecord.of_history(*owed, history)
                await self._shared.put(replace(record, history=history))
            if self._owed.get(key) is owed:  # else a newer one came meanwhile
                del self._owed[key]
                self._local.drop(owed[0])
