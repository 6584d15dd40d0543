"""Greedy micro-batching: one worker thread answers what waits, the event loop only waits.

There is no timer. A worker that is free takes what waits, up to the limit, and while it works
the next batch gathers: a lone request never waits for company, and under load batches fill.

Who would come too late is refused at once: when the queue is full, and when the rows ahead, at
the pace of the last batches, would take too much of the deadline.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Protocol, final

from service.errors import DeadlineExceededError, OverloadedError
from service.inference.engine import Job, Outcome
from service.telemetry import Telemetry

# Bulk rows come by the hundred and give way to online ones: their caller waits for the slowest
# of them anyway, and would rather have it late than not at all.
BULK_PATIENCE: Final = 10
# Share of a row's patience that the rows ahead may take by estimate. The rest is for the row's own
# batch, its way back, and a pace that falls by half; the engine has work enough all the same.
ADMITTED_SHARE: Final = 0.5
# Weight of the latest batch in the pace, where it was slower than those before it and where it was
# quicker: who was let in is not sent away, so a pace that falls must be known at once.
SLOWER_WEIGHT: Final = 0.5
QUICKER_WEIGHT: Final = 0.2


class Runner(Protocol):
    """What answers a batch in order: the ``Engine``."""

    def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Answer a batch of at least one job, in order."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Row:
    engine: Runner
    job: Job
    answer: asyncio.Future[Outcome]
    arrived_s: float
    deadline_s: float


@final
class Batcher:
    """Two bounded queues, online before bulk, in front of one worker thread.

    Lives on one event loop; only ``Runner.run`` leaves it.

    Args:
        max_batch: Rows a batch.
        max_queue: Rows that may wait in each of the two queues.
        deadline_s: How long an online row may wait; a bulk row waits ``BULK_PATIENCE`` times
            as long.
        telemetry: Counts and times everything.
        clock: Seconds from any fixed point, never going back.
    """

    def __init__(
        self,
        max_batch: int,
        max_queue: int,
        deadline_s: float,
        telemetry: Telemetry,
        clock: Callable[[], float],
    ) -> None:
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._deadline_s = deadline_s
        self._telemetry = telemetry
        self._queue_seconds = telemetry.stage_seconds.labels("queue")
        self._engine_seconds = telemetry.stage_seconds.labels("engine")
        self._clock = clock
        self._online: deque[_Row] = deque()
        self._bulk: deque[_Row] = deque()
        self._arrival = asyncio.Event()
        self._running_rows = 0
        self._running_since_s = 0.0
        self._row_s = 0.0
        self._closing = False
        self._work: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine")

    @property
    def queue_length(self) -> int:
        """Rows that wait, online and bulk together."""
        return len(self._online) + len(self._bulk)

    def start(self) -> None:
        """Begin to answer; rows that were submitted before have waited for this."""
        self._work = asyncio.create_task(self._answer_all(), name="batcher")

    async def close(self) -> None:
        """Refuse new rows, answer those that wait, stop the thread."""
        self._closing = True
        self._arrival.set()
        if self._work is not None:
            await self._work
        self._thread.shutdown()

    def require_room(self, *, bulk: bool = False) -> None:
        """Refuse a row that would have to wait too long; ``submit`` asks too, this comes sooner.

        Args:
            bulk: Whether the row gives way to all rows that are not.

        Raises:
            OverloadedError: The queue is full or too slow, or the batcher is closing.
        """
        waiting = self.queue_length if bulk else len(self._online)
        wait_s = (waiting + self._running_rows) * self._pace_s()
        patience_s = self._patience_s(bulk=bulk)
        is_full = len(self._bulk if bulk else self._online) >= self._max_queue
        if not (self._closing or is_full or wait_s > ADMITTED_SHARE * patience_s):
            return
        self._telemetry.refused.labels("overloaded").inc()
        # Before anything was measured: by the deadline all that waits in front now has gone.
        back_s = min(wait_s or self._deadline_s, patience_s)
        raise OverloadedError(retry_after_s=max(1, math.ceil(back_s)))

    def _pace_s(self) -> float:
        """Estimate the seconds a row; a batch that takes longer than those before it counts now."""
        if not self._running_rows:
            return self._row_s
        return max(self._row_s, (self._clock() - self._running_since_s) / self._running_rows)

    def _patience_s(self, *, bulk: bool) -> float:
        return self._deadline_s * (BULK_PATIENCE if bulk else 1)

    async def submit(self, engine: Runner, job: Job, *, bulk: bool = False) -> Outcome:
        """Wait for a row's turn and give its answer.

        Cancelling the call takes the row out of the queue; its neighbours do not notice.

        Args:
            engine: Who answers. Rows of different engines never share a batch.
            job: The row.
            bulk: Whether the row gives way to all rows that are not.

        Raises:
            OverloadedError: The queue is full or too slow, or the batcher is closing.
            DeadlineExceededError: The row's turn came too late.
            Exception: Whatever the engine raised for this row, and for this row alone.
        """
        self.require_room(bulk=bulk)
        queue = self._bulk if bulk else self._online
        now_s = self._clock()
        answer = asyncio.get_running_loop().create_future()
        queue.append(_Row(engine, job, answer, now_s, now_s + self._patience_s(bulk=bulk)))
        self._arrival.set()
        outcome: Outcome = await answer
        return outcome

    async def _answer_all(self) -> None:
        while True:
            now_s = self._clock()
            self._drop_late(self._online, now_s)
            self._drop_late(self._bulk, now_s)
            batch = self._cut(self._online) or self._cut(self._bulk)
            if batch:
                await self._answer(batch)
            elif self._closing:
                return
            else:
                self._arrival.clear()
                await self._arrival.wait()

    def _drop_late(self, queue: deque[_Row], now_s: float) -> None:
        # First come, first out of time: the late ones stand at the head.
        while queue and queue[0].deadline_s < now_s:
            row = queue.popleft()
            if self._is_wanted(row):
                self._telemetry.refused.labels("deadline").inc()
                row.answer.set_exception(DeadlineExceededError("waited too long in the queue"))

    def _cut(self, queue: deque[_Row]) -> list[_Row]:
        """Take the rows at the head that one engine can answer together."""
        batch: list[_Row] = []
        while queue and len(batch) < self._max_batch:
            if batch and queue[0].engine is not batch[0].engine:
                break
            row = queue.popleft()
            if self._is_wanted(row):
                batch.append(row)
        return batch

    def _is_wanted(self, row: _Row) -> bool:
        if row.answer.done():  # cancelled: nobody waits for it
            self._telemetry.refused.labels("abandoned").inc()
            return False
        return True

    async def _answer(self, batch: Sequence[_Row]) -> None:
        started_s = self._clock()
        for row in batch:
            self._queue_seconds.observe(started_s - row.arrived_s)
        self._telemetry.batch_size.observe(len(batch))
        loop = asyncio.get_running_loop()
        jobs = [row.job for row in batch]
        self._running_rows = len(batch)
        self._running_since_s = started_s
        outcomes = await loop.run_in_executor(self._thread, self._run, batch[0].engine, jobs)
        self._running_rows = 0
        self._keep_pace((self._clock() - started_s) / len(batch))
        for row, outcome in zip(batch, outcomes, strict=True):
            if row.answer.done():  # cancelled while the engine ran
                continue
            if isinstance(outcome, Exception):
                row.answer.set_exception(outcome)
            else:
                row.answer.set_result(outcome)

    def _keep_pace(self, row_s: float) -> None:
        # With the way to the thread and back: where the event loop is the slower part, that counts.
        weight = SLOWER_WEIGHT if row_s > self._row_s else QUICKER_WEIGHT
        self._row_s += (row_s - self._row_s) * (weight if self._row_s else 1.0)

    def _run(self, engine: Runner, jobs: Sequence[Job]) -> Sequence[Outcome | Exception]:
        """The part that runs on the worker thread."""
        started_s = self._clock()
        outcomes = _outcomes(engine, jobs)
        self._engine_seconds.observe(self._clock() - started_s)
        return outcomes


def _outcomes(engine: Runner, jobs: Sequence[Job]) -> Sequence[Outcome | Exception]:
    """Answer a batch; a row that fails does so alone."""
    try:
        return engine.run(jobs)
    except Exception as error:  # noqa: BLE001 - whatever it is goes to its caller, not to the thread
        if len(jobs) == 1:
            return [error]
    return [answer for job in jobs for answer in _outcomes(engine, [job])]
