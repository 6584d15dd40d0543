"""Exchanges a model that answers: on request, when CURRENT changes, when other workers have.

A new bundle is read, verified, made to repeat its trainer's answers and warmed up beside the model
that answers, on a thread of its own; then it takes over in one assignment. One that fails on the
way changes nothing but a counter and the log.
"""

import asyncio
import gc
import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Final, Literal, TypeAlias, final

from service.agreement import Agreement, Choice
from service.deployment import Deployment, Served
from service.errors import (
    CheckpointDigestError,
    CheckpointError,
    NoPreviousModelError,
    ReloadRefusedError,
)
from service.model_end import let_go
from service.model_folder import bundle_at, digest_at, fingerprint, means
from service.own_thread import on_own_thread, yielding
from service.telemetry import Telemetry
from service.watch import every, may_pass, quietly

logger = logging.getLogger(__name__)

Outcome: TypeAlias = Literal["swapped", "unchanged", "rolled_back", "followed", "refused"]

# How soon the other workers notice what one of them did; a look takes 20 us.
FOLLOW_S: Final = 0.1


@final
class Reloader:
    """Exchanges one model of one process, whose ``deployment`` it is.

    Args:
        deployment: Holds the model that answers, and the one before.
        model_dir: A bundle, or a directory whose ``CURRENT`` names one.
        load: Makes a bundle ready to answer; called on a thread of its own.
        telemetry: Counts exchanges.
        agreement: With the other workers; None: there are none.
    """

    def __init__(
        self,
        deployment: Deployment,
        model_dir: Path,
        load: Callable[[Path], Served],
        telemetry: Telemetry,
        agreement: Agreement | None = None,
    ) -> None:
        self.deployment: Final = deployment
        self._model_dir = model_dir
        self._load = load
        self._telemetry = telemetry
        self._agreement = agreement
        self._lock = asyncio.Lock()
        self._seen: str | None = None
        self._followed = ""
        self._passing = ""

    async def join(self) -> None:
        """Begin: with what the other workers have chosen, where there are any."""
        if self._agreement is None:
            return
        if self._agreement.choice() is not None:
            # CURRENT may name what was rolled back: it counts from its next change on.
            self._seen = fingerprint(self._model_dir)
        self._agreement.choose_first(self.deployment.current.version)
        await quietly(self.follow)
        self._agreement.tell(self.deployment.current.version)

    async def run(self, poll_s: float) -> None:
        """Exchange whenever there is a reason to that nobody asks for, until cancelled.

        Args:
            poll_s: Between looks at the model directory; 0: nobody looks.
        """
        async with asyncio.TaskGroup() as group:
            if poll_s:
                group.create_task(every(poll_s, self.look))
            if self._agreement is not None:
                group.create_task(every(FOLLOW_S, self.follow))

    def workers(self) -> dict[str, int]:
        """Count the processes of the service by the version that they answer with."""
        if self._agreement is None:
            return {self.deployment.current.version: 1}
        return self._agreement.versions()

    async def reload(self) -> Outcome:
        """Let the bundle that the model directory names answer, if it does not already.

        Raises:
            ReloadRefusedError: It cannot be served; the model before answers on.
        """
        async with self._lock:
            return await self._reload(await asyncio.to_thread(fingerprint, self._model_dir))

    async def reload_with_all(self) -> None:
        """Reload, but for a model that was rolled back: CURRENT counts from its next change on.

        Raises:
            ReloadRefusedError: As of ``reload``.
        """
        async with self._lock:
            seen = await asyncio.to_thread(fingerprint, self._model_dir)
            if not await asyncio.to_thread(self._is_rolled_back, seen):
                await self._reload(seen)

    def _is_rolled_back(self, seen: str) -> bool:
        """Tell whether the model directory, in this state, names what was rolled back."""
        previous, acted_upon = self._version_before(), self._seen
        choice = self._agreement and self._agreement.choice()
        if choice:  # which this worker may not have followed yet
            previous, acted_upon = choice.previous, choice.seen
        with suppress(CheckpointError):  # it names nothing
            return previous is not None and seen == acted_upon and means(self._model_dir, previous)
        return False

    def _version_before(self) -> str | None:
        return self.deployment.previous and self.deployment.previous.version

    async def _reload(self, seen: str) -> Outcome:
        before = self.deployment.current
        try:
            served = await self._found(self._named)
        except ReloadRefusedError as refusal:
            self._seen = self._seen if may_pass(refusal.__cause__) else seen
            raise
        if served is before:
            outcome, previous = self._count("unchanged"), self.deployment.previous
        else:
            outcome, previous = self._count("swapped"), before
        self._exchange(served, previous)
        self._seen = seen
        self._choose()
        return outcome

    async def rollback(self) -> Outcome:
        """Let the model before answer again; it is in memory, and a rollback of that one is, too.

        Raises:
            NoPreviousModelError: There was none, or this worker came when its bundle was gone.
        """
        async with self._lock:
            current, previous = self.deployment.current, self.deployment.previous
            if previous is None:
                raise NoPreviousModelError(
                    f"no model was there before {current.version}, or its bundle is gone"
                )
            self._exchange(previous, current)
            self._choose()
            return self._count("rolled_back")

    async def look(self) -> None:
        """Reload if anything changed in the model directory since the last look.

        A bundle that was refused is tried again when a file of it has changed: a copy that takes
        its time ends as a whole one. One that could not be read is, too, at the next look.

        Raises:
            ReloadRefusedError: As of ``reload``.
        """
        async with self._lock:
            seen = await asyncio.to_thread(fingerprint, self._model_dir)
            if seen != self._seen:
                await self._reload(seen)

    async def follow(self) -> None:
        """Hold the models that the workers have chosen.

        Raises:
            ReloadRefusedError: The one that is to answer cannot be served here.
        """
        if self._agreement is None:
            return
        async with self._lock:
            choice = self._agreement.choice()
            if choice is None or choice.token == self._followed:
                return
            try:
                await self._take(choice)
            except ReloadRefusedError as refusal:
                self._followed = self._followed if may_pass(refusal.__cause__) else choice.token
                raise
            self._followed = choice.token
            self._seen = choice.seen or self._seen

    async def _take(self, choice: Choice) -> None:
        current = await self._found(lambda: self._held_or_loaded(choice.current))
        previous = self.deployment.previous
        if previous is current:
            previous = self.deployment.current
        if choice.previous is not None:
            previous = await self._way_back(choice.previous)
        if current is not self.deployment.current:
            self._count("followed")
        self._exchange(current, previous)

    async def _way_back(self, version: str) -> Served | None:
        """Find the model before; None where it cannot be had: that keeps no other back."""
        try:
            return await _tried(lambda: self._held_or_loaded(version))
        except ReloadRefusedError as refusal:
            fields = {"model": self.deployment.current.name, "version": version}
            logger.warning("nothing to roll back to: %s", refusal, extra={"fields": fields})
            return None

    async def _found(self, find: Callable[[], Served]) -> Served:
        try:
            return await _tried(find)
        except ReloadRefusedError as refusal:
            self._tell_refused(refusal)
            raise

    def _tell_refused(self, refusal: ReloadRefusedError) -> None:
        """Count a refusal, and log it: one that may pass, and so is tried again, once a kind."""
        self._count("refused", refusal.reason)
        passing = refusal.reason if may_pass(refusal.__cause__) else ""
        if not passing or passing != self._passing:
            answering = self.deployment.current
            fields = {"model": answering.name, "answers_on": answering.version}
            logger.error("reload refused: %s", refusal, extra={"fields": fields})
        self._passing = passing

    def _named(self) -> Served:
        """Give what the model directory names; what is in memory is not read again."""
        digest = digest_at(self._model_dir)
        for held in self.deployment.current, self.deployment.previous:
            if held is not None and held.digest == digest:
                return held
        return self._loaded(self._model_dir)

    def _held_or_loaded(self, version: str) -> Served:
        for held in self.deployment.current, self.deployment.previous:
            if held is not None and held.version == version:
                return held
        path = bundle_at(self._model_dir, version)
        # Where it was pruned, the path means another one, which would be loaded in vain.
        if not means(path, version):
            raise CheckpointDigestError(f"no {version} in {self._model_dir}")
        return self._loaded(path)

    def _loaded(self, path: Path) -> Served:
        with nullcontext() if self._agreement is None else self._agreement.turn(), yielding():
            return self._load(path)

    def _exchange(self, current: Served, previous: Served | None) -> None:
        self._passing = ""
        before = (self.deployment.current, self.deployment.previous)
        if before == (current, previous):
            return
        self.deployment.swap(current, previous)
        if self._agreement is not None:
            self._agreement.tell(current.version)
        fields = {"model": current.name, "version": current.version, "before": before[0].version}
        logger.info("the model was exchanged", extra={"fields": fields})
        # What is loaded stays, as at the start. Of the young only: to walk through all there is
        # takes 0.2 s, in which nobody is answered.
        gc.collect(1)
        gc.freeze()
        for served in before:
            if served is not None and served not in {current, previous}:
                let_go(served)

    def _choose(self) -> None:
        if self._agreement is not None:
            versions = (self.deployment.current.version, self._version_before())
            self._followed = self._agreement.choose(*versions, self._seen or "").token

    def _count(self, outcome: Outcome, reason: str = "") -> Outcome:
        name = self.deployment.current.name
        self._telemetry.reloads.labels(name, outcome, reason).inc()
        return outcome


async def reload_when(asked: asyncio.Event, reloaders: Sequence[Reloader]) -> None:
    """Reload all models, one after another, whenever somebody sets the event; cleared here."""
    while True:
        await asked.wait()
        asked.clear()
        for reloader in reloaders:
            await quietly(reloader.reload_with_all)


async def _tried(find: Callable[[], Served]) -> Served:
    try:
        return await on_own_thread(find)
    except Exception as error:
        raise ReloadRefusedError(error) from error
