"""Greedy micro-batching: one worker thread answers what waits, the event loop only waits.

There is no timer. A worker that is free takes what waits, up to the limit, and while it works
the next batch gathers: a lone request never waits for company, and under load batches fill. It
takes them itself: to be handed the next one by a busy event loop, it stood idle half of the time.

Who would come too late is refused at once: when the queue is full, and when the batches ahead, at
the pace of the last ones, would take too much of the deadline.
"""

import asyncio
import math
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, final

from service.errors import DeadlineExceededError, OverloadedError
from service.inference.engine import Job, Outcome
from service.telemetry import Telemetry

# Bulk rows come by the hundred and give way to online ones: their caller waits for the slowest
# of them anyway, and would rather have it late than not at all.
BULK_PATIENCE: Final = 10
# While online rows come, a bulk batch is small: who comes meanwhile waits for its end. With 20,000
# items, at one online request after another, a stream of rows raised their 99th percentile 3-fold
# with batches of 32 and 1.2- to 2-fold with 4, and had 900 rows a second in place of 1,500.
BULK_ROWS_BESIDE_ONLINE: Final = 4
QUIET_S: Final = 1.0
# Share of a row's patience that what is ahead may take by estimate. The rest is for the row's own
# batch, its way back, and a pace that falls by half; the engine has work enough all the same. On a
# busy machine, at three times the capacity, 99 of 100 admitted had their list after 1.2 s of 2 s
# with 0.5, and after 0.7 s with 0.25; the less, the shorter a pause at which callers are refused.
ADMITTED_SHARE: Final = 0.4
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
        self._last_online_s = -math.inf
        self._arrival = threading.Event()
        self._running_rows = 0
        self._running_since_s = 0.0
        self._pace = _Pace()
        self._closing = False
        self._thread: threading.Thread | None = None

    @property
    def queue_length(self) -> int:
        """Rows that wait, online and bulk together."""
        return len(self._online) + len(self._bulk)

    def start(self) -> None:
        """Begin to answer; rows that were submitted before have waited for this."""
        loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._answer_all, args=(loop,), name="engine")
        self._thread.start()

    async def close(self) -> None:
        """Refuse new rows, answer those that wait, or refuse them before ``start``."""
        self._closing = True
        self._arrival.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)
        while rows := self._online or self._bulk:
            _deliver([rows.popleft()], [OverloadedError(retry_after_s=1)])

    def require_room(self, *, bulk: bool = False) -> None:
        """Refuse a row that would have to wait too long; ``submit`` asks too, this comes sooner.

        Args:
            bulk: Whether the row gives way to all rows that are not.

        Raises:
            OverloadedError: The queue is full or too slow, or the batcher is closing.
        """
        wait_s = self._wait_s(self.queue_length if bulk else len(self._online))
        patience_s = self._patience_s(bulk=bulk)
        is_full = len(self._bulk if bulk else self._online) >= self._max_queue
        if not (self._closing or is_full or wait_s > ADMITTED_SHARE * patience_s):
            return
        self._telemetry.refused.labels("overloaded").inc()
        # Before anything was measured: by the deadline all that waits in front now has gone.
        back_s = min(wait_s or self._deadline_s, patience_s)
        raise OverloadedError(retry_after_s=max(1, math.ceil(back_s)))

    def _wait_s(self, waiting: int) -> float:
        """Estimate what so many waiting rows and the batch that runs will take.

        By whole batches: a row of a small one costs several times one of a large one, and a pause
        of the machine in a batch of one, taken for the pace of a row, would look like an overload.
        """
        running = self._running_rows
        # A batch that takes longer than those before it counts now, for each full one to come.
        least_s = self._clock() - self._running_since_s if running else 0.0
        batches, rest = divmod(waiting, self._max_batch)
        wait_s = batches * max(least_s, self._pace.batch_s(self._max_batch)) if batches else 0.0
        if rest:
            wait_s += self._pace.batch_s(rest)
        if running:
            wait_s += max(least_s, self._pace.batch_s(running))
        return wait_s

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
        if not bulk:
            self._last_online_s = now_s
        answer = asyncio.get_running_loop().create_future()
        queue.append(_Row(engine, job, answer, now_s, now_s + self._patience_s(bulk=bulk)))
        if not self._arrival.is_set():  # for its lock, which setting it takes and asking does not
            self._arrival.set()
        outcome: Outcome = await answer
        return outcome

    def _answer_all(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take batch after batch until closing; this and what it calls is the worker thread."""
        while True:
            # Before the look at what is there: what comes after the look sets it again.
            closing = self._closing
            self._arrival.clear()
            late = self._cut_late(self._online) + self._cut_late(self._bulk)
            batch = self._cut(self._online, self._max_batch)
            batch = batch or self._cut(self._bulk, self._bulk_rows())
            if late:
                errors = [DeadlineExceededError("waited too long in the queue") for _ in late]
                loop.call_soon_threadsafe(_deliver, late, errors)
            if batch:
                self._answer(batch, loop)
            elif closing:
                return
            else:
                self._arrival.wait()

    def _cut_late(self, queue: deque[_Row]) -> list[_Row]:
        """Take the rows whose time is over; first come, first out of time."""
        now_s = self._clock()
        late: list[_Row] = []
        while queue and queue[0].deadline_s < now_s:
            row = queue.popleft()
            if self._is_wanted(row):
                self._telemetry.refused.labels("deadline").inc()
                late.append(row)
        return late

    def _bulk_rows(self) -> int:
        is_quiet = self._clock() - self._last_online_s > QUIET_S
        return self._max_batch if is_quiet else min(self._max_batch, BULK_ROWS_BESIDE_ONLINE)

    def _cut(self, queue: deque[_Row], max_rows: int) -> list[_Row]:
        """Take the rows at the head that one engine can answer together."""
        batch: list[_Row] = []
        while queue and len(batch) < max_rows:
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

    def _answer(self, batch: Sequence[_Row], loop: asyncio.AbstractEventLoop) -> None:
        started_s = self._clock()
        for row in batch:
            self._queue_seconds.observe(started_s - row.arrived_s)
        self._telemetry.batch_size.observe(len(batch))
        self._running_since_s = started_s
        self._running_rows = len(batch)
        outcomes = _outcomes(batch[0].engine, [row.job for row in batch])
        ended_s = self._clock()
        self._running_rows = 0
        self._engine_seconds.observe(ended_s - started_s)
        self._pace.keep(len(batch), ended_s - started_s)
        loop.call_soon_threadsafe(_deliver, batch, outcomes)


def _deliver(batch: Sequence[_Row], outcomes: Sequence[Outcome | Exception]) -> None:
    """Hand answers to who waits for them; on the event loop."""
    for row, outcome in zip(batch, outcomes, strict=True):
        if row.answer.done():  # cancelled while the engine ran
            continue
        if isinstance(outcome, Exception):
            row.answer.set_exception(outcome)
        else:
            row.answer.set_result(outcome)


@final
class _Pace:
    """The seconds of a batch by its size, in classes of doubling size."""

    def __init__(self) -> None:
        self._batch_s: dict[int, float] = {}

    def keep(self, rows: int, batch_s: float) -> None:
        """Take the latest batch in; on the worker thread."""
        size = rows.bit_length()
        self._batch_s[size] = _moved(self._batch_s.get(size, batch_s), batch_s)

    def batch_s(self, rows: int) -> float:
        """Estimate a batch by those of its size, or the next larger, or the largest there was.

        The last may be too little, for one batch: then it has been measured.
        """
        measured = self._batch_s.copy()  # which the worker adds to
        size = rows.bit_length()
        if size in measured or not measured:
            return measured.get(size, 0.0)
        return measured[min((known for known in measured if known > size), default=max(measured))]


def _moved(mean_s: float, latest_s: float) -> float:
    weight = SLOWER_WEIGHT if latest_s > mean_s else QUICKER_WEIGHT
    return mean_s + (latest_s - mean_s) * weight


def _outcomes(engine: Runner, jobs: Sequence[Job]) -> Sequence[Outcome | Exception]:
    """Answer a batch; a row that fails does so alone."""
    try:
        return engine.run(jobs)
    except BaseException as error:  # noqa: BLE001 - whatever it is goes to its caller, not to the thread
        if len(jobs) == 1:
            # A future takes no panic of an extension; a cancellation would be taken for its own.
            panic = RuntimeError(repr(error)).with_traceback(error.__traceback__)
            return [error if isinstance(error, Exception) else panic]
    return [answer for job in jobs for answer in _outcomes(engine, [job])]
