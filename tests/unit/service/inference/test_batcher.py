import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import DeadlineExceededError, OverloadedError
from service.inference.batcher import BULK_PATIENCE, Batcher, Runner
from service.inference.engine import Job, Outcome
from service.retrieval.base import TopK, Wanted
from service.telemetry import Telemetry

NOTHING = np.empty(0, dtype=np.int64)


class FakeClock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class FakeEngine:
    """Answers a job with its own k, notes the batches, and can be held or poisoned."""

    def __init__(self, poison: int | None = None, on_run: Callable[[], object] = lambda: 0) -> None:
        self.batches: list[list[int]] = []
        self.threads: set[threading.Thread] = set()
        self.running = threading.Event()
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self._poison = poison
        self._on_run = on_run

    def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        self.batches.append([job.wanted.k for job in jobs])
        self.threads.add(threading.current_thread())
        self.running.set()
        assert self.may_go_on.wait(timeout=5)
        self._on_run()
        if self._poison in self.batches[-1]:
            raise ZeroDivisionError(f"poison in {self.batches[-1]}")
        return [
            Outcome(TopK(np.array([job.wanted.k]), np.ones(1, dtype=np.float32)), job_latent(job))
            for job in jobs
        ]


def job_latent(job: Job) -> np.ndarray:
    assert job.latent_D is not None
    return job.latent_D


def job(number: int) -> Job:
    return Job(Wanted(number, NOTHING), latent_D=np.zeros(1, dtype=np.float32))


def make(
    clock: Callable[[], float] | None = None,
    telemetry: Telemetry | None = None,
    max_batch: int = 4,
    max_queue: int = 100,
    deadline_s: float = 2.5,
) -> Batcher:
    return Batcher(max_batch, max_queue, deadline_s, telemetry or Telemetry(), clock or FakeClock())


@asynccontextmanager
async def started(batcher: Batcher) -> AsyncIterator[Batcher]:
    batcher.start()
    try:
        yield batcher
    finally:
        await batcher.close()


async def ask(batcher: Batcher, engine: Runner, number: int, *, bulk: bool = False) -> int:
    async with asyncio.timeout(5):  # a batcher that forgets a row fails the test and not the run
        outcome = await batcher.submit(engine, job(number), bulk=bulk)
    return int(outcome.top.item_index_K[0])


def asked(
    batcher: Batcher, engine: Runner, numbers: Sequence[int], *, bulk: bool = False
) -> list[asyncio.Task[int]]:
    return [asyncio.create_task(ask(batcher, engine, n, bulk=bulk)) for n in numbers]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - a fact of the batcher, which signals none
            await asyncio.sleep(0.001)


def count(telemetry: Telemetry, name: str, **labels: str) -> float:
    return telemetry._registry.get_sample_value(name, labels) or 0.0


def refused(telemetry: Telemetry, reason: str) -> float:
    return count(telemetry, "foldin_refused_total", reason=reason)


async def test_a_lone_row_does_not_wait_for_company() -> None:
    # No timer can be at work: the only clock stands still.
    engine = FakeEngine()
    async with started(make()) as batcher:
        assert await ask(batcher, engine, 7) == 7
    assert engine.batches == [[7]]


async def test_rows_that_wait_form_batches_up_to_the_limit() -> None:
    engine = FakeEngine()
    batcher = make(max_batch=4)
    tasks = asked(batcher, engine, range(1, 11))
    await until(lambda: batcher.queue_length == 10)
    async with started(batcher):
        assert await asyncio.gather(*tasks) == list(range(1, 11))
    assert engine.batches == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]


async def test_the_next_batch_gathers_while_the_worker_is_busy() -> None:
    engine = FakeEngine()
    engine.may_go_on.clear()
    async with started(make()) as batcher:
        first = asked(batcher, engine, [1])
        await until(engine.running.is_set)
        rest = asked(batcher, engine, [2, 3, 4])
        await until(lambda: batcher.queue_length == 3)
        engine.may_go_on.set()
        assert await asyncio.gather(*first, *rest) == [1, 2, 3, 4]
    assert engine.batches == [[1], [2, 3, 4]]


async def test_all_batches_run_on_one_thread_that_is_not_the_event_loops() -> None:
    engine = FakeEngine()
    async with started(make()) as batcher:
        for number in range(1, 4):
            await ask(batcher, engine, number)
    (thread,) = engine.threads
    assert thread is not threading.current_thread()


@pytest.mark.parametrize("bulk", [False, True])
async def test_a_row_is_refused_at_once_when_its_queue_is_full(*, bulk: bool) -> None:
    engine, telemetry = FakeEngine(), Telemetry()
    batcher = make(telemetry=telemetry, max_queue=2, deadline_s=2.5)
    waiting = asked(batcher, engine, [1, 2], bulk=bulk)
    await until(lambda: batcher.queue_length == 2)
    with pytest.raises(OverloadedError) as refusal:
        await ask(batcher, engine, 3, bulk=bulk)
    assert refusal.value.retry_after_s == 3
    assert refused(telemetry, "overloaded") == 1
    other = asked(batcher, engine, [4], bulk=not bulk)  # the other queue has room
    async with started(batcher):
        assert await asyncio.gather(*waiting, *other) == [1, 2, 4]


async def paced(batcher: Batcher, clock: FakeClock, row_s: float, engine: FakeEngine) -> None:
    """Let the batcher measure rows that take so long."""
    engine._on_run = lambda: setattr(clock, "now_s", clock.now_s + row_s)
    for number in range(20):
        await ask(batcher, engine, number + 1)


@pytest.mark.parametrize(("bulk", "admitted"), [(False, 8), (True, 80)])
async def test_a_row_is_refused_when_the_rows_ahead_would_take_too_much_of_its_patience(
    *, bulk: bool, admitted: int
) -> None:
    engine, clock = FakeEngine(), FakeClock()
    async with started(make(clock, max_batch=1, max_queue=1000, deadline_s=2)) as batcher:
        await paced(batcher, clock, 0.101, engine)
        engine.may_go_on.clear()
        engine.running.clear()
        first = asked(batcher, engine, [1], bulk=bulk)
        await until(engine.running.is_set)
        # With the one that runs, at 0.101 s each, they take just over the share of the patience.
        more = asked(batcher, engine, range(2, admitted + 1), bulk=bulk)
        await until(lambda: batcher.queue_length == admitted - 1)
        with pytest.raises(OverloadedError) as refusal:
            await ask(batcher, engine, 1000, bulk=bulk)
        assert refusal.value.retry_after_s == (9 if bulk else 1)
        engine._on_run = lambda: 0
        engine.may_go_on.set()
        assert await asyncio.gather(*first, *more) == list(range(1, admitted + 1))


async def test_online_rows_do_not_wait_for_bulk_rows_and_are_not_refused_for_them() -> None:
    engine, clock = FakeEngine(), FakeClock()
    async with started(make(clock, max_queue=1000, deadline_s=2)) as batcher:
        await paced(batcher, clock, 0.1, engine)
        engine.may_go_on.clear()
        bulk = asked(batcher, engine, range(1, 101), bulk=True)
        await until(lambda: batcher.queue_length > 90)
        batcher.require_room()
        engine._on_run = lambda: 0
        engine.may_go_on.set()
        await asyncio.gather(*bulk)


async def test_a_batch_that_hangs_is_noticed_before_it_ends() -> None:
    engine, clock = FakeEngine(), FakeClock()
    async with started(make(clock, deadline_s=2)) as batcher:
        await paced(batcher, clock, 0.001, engine)
        engine._on_run = lambda: 0
        engine.may_go_on.clear()
        engine.running.clear()
        (slow,) = asked(batcher, engine, [1])
        await until(engine.running.is_set)
        batcher.require_room()
        clock.now_s += 1.5
        with pytest.raises(OverloadedError):
            batcher.require_room()
        engine.may_go_on.set()
        assert await slow == 1


async def test_an_idle_batcher_takes_a_row_however_slow_the_last_one_was() -> None:
    engine, clock = FakeEngine(), FakeClock()
    async with started(make(clock, deadline_s=2)) as batcher:
        await paced(batcher, clock, 100.0, engine)
        engine._on_run = lambda: 0
        assert await ask(batcher, engine, 7) == 7


async def test_one_slow_batch_is_forgotten_after_a_few_quick_ones() -> None:
    engine, clock = FakeEngine(), FakeClock()
    async with started(make(clock, deadline_s=2)) as batcher:
        await paced(batcher, clock, 0.001, engine)
        engine._on_run = lambda: setattr(clock, "now_s", clock.now_s + 5)
        await ask(batcher, engine, 1)
        slow_s = batcher._pace.batch_s(1)
        assert 2 < slow_s < 3
        await paced(batcher, clock, 0.001, engine)
        assert batcher._pace.batch_s(1) < 0.02 * slow_s


async def test_a_pause_in_a_batch_of_one_is_not_taken_for_the_pace_of_each_waiting_row() -> None:
    engine, clock = FakeEngine(), FakeClock()
    async with started(make(clock, max_batch=64, deadline_s=2)) as batcher:
        engine.may_go_on.clear()
        first = asked(batcher, engine, [1])
        await until(engine.running.is_set)
        clock.now_s += 0.1
        others = asked(batcher, engine, range(2, 65))
        await until(lambda: batcher.queue_length == 63)
        batcher.require_room()  # at 0.1 s a row they would take 6 s
        engine.may_go_on.set()
        await asyncio.gather(*first, *others)


def test_rows_that_wait_are_estimated_by_batches_of_their_size() -> None:
    batcher = make(max_batch=16)
    assert batcher._wait_s(17) == 0  # before anything was measured
    for rows, batch_s in ((1, 0.1), (6, 0.2), (10, 0.4)):
        batcher._pace.keep(rows, batch_s)
    for waiting, expected_s in ((0, 0), (1, 0.1), (2, 0.2), (7, 0.2), (8, 0.4), (20, 0.6)):
        assert batcher._wait_s(waiting) == pytest.approx(expected_s)


async def test_a_row_whose_turn_comes_after_its_deadline_is_dropped() -> None:
    engine, clock, telemetry = FakeEngine(), FakeClock(), Telemetry()
    batcher = make(clock, telemetry, deadline_s=2.5)
    late = asked(batcher, engine, [1, 2])
    await until(lambda: batcher.queue_length == 2)
    clock.now_s += 2
    in_time = asked(batcher, engine, [3])
    await until(lambda: batcher.queue_length == 3)
    clock.now_s += 1
    async with started(batcher):
        assert await in_time[0] == 3
        for task in late:
            with pytest.raises(DeadlineExceededError):
                await task
    assert engine.batches == [[3]]
    assert refused(telemetry, "deadline") == 2


async def test_a_bulk_row_is_more_patient() -> None:
    engine, clock, telemetry = FakeEngine(), FakeClock(), Telemetry()
    batcher = make(clock, telemetry, deadline_s=2.5)
    (late,) = asked(batcher, engine, [1], bulk=True)
    await until(lambda: batcher.queue_length == 1)
    clock.now_s += 1
    (in_time,) = asked(batcher, engine, [2], bulk=True)
    await until(lambda: batcher.queue_length == 2)
    clock.now_s += 2.5 * BULK_PATIENCE
    clock.now_s -= 0.5
    async with started(batcher):
        assert await in_time == 2
        with pytest.raises(DeadlineExceededError):
            await late
    assert engine.batches == [[2]]


async def test_a_late_bulk_row_is_told_while_online_rows_keep_the_worker() -> None:
    engine, clock = FakeEngine(), FakeClock()
    batcher = make(clock)
    (late,) = asked(batcher, engine, [1], bulk=True)
    await until(lambda: batcher.queue_length == 1)
    clock.now_s += 1000
    engine.may_go_on.clear()
    online = asked(batcher, engine, [2])
    async with started(batcher):
        await until(engine.running.is_set)
        with pytest.raises(DeadlineExceededError):
            await late
        assert not online[0].done()
        engine.may_go_on.set()
        assert await online[0] == 2


async def test_a_row_whose_caller_left_is_not_run() -> None:
    engine, telemetry = FakeEngine(), Telemetry()
    batcher = make(telemetry=telemetry)
    stays, leaves, stays_too = asked(batcher, engine, [1, 2, 3])
    await until(lambda: batcher.queue_length == 3)
    leaves.cancel()
    async with started(batcher):
        assert (await stays, await stays_too) == (1, 3)
    assert engine.batches == [[1, 3]]
    assert leaves.cancelled()
    assert refused(telemetry, "abandoned") == 1


async def test_a_caller_who_left_and_would_be_late_counts_once() -> None:
    engine, clock, telemetry = FakeEngine(), FakeClock(), Telemetry()
    batcher = make(clock, telemetry)
    (leaves,) = asked(batcher, engine, [1])
    await until(lambda: batcher.queue_length == 1)
    leaves.cancel()
    clock.now_s += 1000
    async with started(batcher):
        await until(lambda: batcher.queue_length == 0)
    assert engine.batches == []
    assert refused(telemetry, "abandoned") == 1
    assert refused(telemetry, "deadline") == 0


async def test_a_caller_who_leaves_while_the_engine_runs_does_not_disturb_others() -> None:
    engine = FakeEngine()
    engine.may_go_on.clear()
    batcher = make()
    stays, leaves = asked(batcher, engine, [1, 2])
    await until(lambda: batcher.queue_length == 2)
    async with started(batcher):
        await until(engine.running.is_set)
        leaves.cancel()
        engine.may_go_on.set()
        assert await stays == 1
        assert await ask(batcher, engine, 3) == 3
    assert leaves.cancelled()


async def test_one_poisoned_row_of_many_fails_alone() -> None:
    engine = FakeEngine(poison=13)
    batcher = make(max_batch=32)
    tasks = asked(batcher, engine, range(1, 33))
    await until(lambda: batcher.queue_length == 32)
    async with started(batcher):
        answers = await asyncio.gather(*tasks, return_exceptions=True)
    failed = answers.pop(12)
    assert isinstance(failed, ZeroDivisionError)
    assert str(failed) == "poison in [13]"
    assert answers == [n for n in range(1, 33) if n != 13]


async def test_a_row_that_fails_alone_is_not_tried_again() -> None:
    engine = FakeEngine(poison=1)
    async with started(make()) as batcher:
        with pytest.raises(ZeroDivisionError):
            await ask(batcher, engine, 1)
        assert await ask(batcher, engine, 2) == 2
    assert engine.batches == [[1], [2]]


async def test_rows_of_different_engines_never_share_a_batch() -> None:
    old, new = FakeEngine(), FakeEngine()
    batcher = make(max_batch=10)
    tasks = [*asked(batcher, old, [1, 2]), *asked(batcher, new, [3, 4]), *asked(batcher, old, [5])]
    await until(lambda: batcher.queue_length == 5)
    async with started(batcher):
        assert await asyncio.gather(*tasks) == [1, 2, 3, 4, 5]
    assert old.batches == [[1, 2], [5]]
    assert new.batches == [[3, 4]]


async def test_bulk_batches_are_small_while_online_rows_come() -> None:
    engine, clock = FakeEngine(), FakeClock()
    batcher = make(clock, max_batch=16)

    async def sizes_behind(first: asyncio.Task[int]) -> list[int]:
        engine.batches.clear()
        engine.running.clear()
        engine.may_go_on.clear()
        await until(engine.running.is_set)
        bulk = asked(batcher, engine, range(2, 22), bulk=True)
        await asyncio.sleep(0)
        engine.may_go_on.set()
        await asyncio.gather(first, *bulk)
        return [len(batch) for batch in engine.batches]

    async with started(batcher):
        (online,) = asked(batcher, engine, [1])
        assert await sizes_behind(online) == [1, 4, 4, 4, 4, 4]
        clock.now_s += 2
        (alone,) = asked(batcher, engine, [1], bulk=True)
        assert await sizes_behind(alone) == [1, 16, 4]


async def test_bulk_rows_give_way_to_online_rows() -> None:
    engine = FakeEngine()
    engine.may_go_on.clear()
    batcher = make(max_batch=2)
    bulk = asked(batcher, engine, [1, 2, 3, 4, 5], bulk=True)
    await until(lambda: batcher.queue_length == 5)
    async with started(batcher):
        await until(engine.running.is_set)
        online = asked(batcher, engine, [11, 12, 13])
        await until(lambda: batcher.queue_length == 6)
        engine.may_go_on.set()
        await asyncio.gather(*bulk, *online)
    assert engine.batches == [[1, 2], [11, 12], [13], [3, 4], [5]]


async def test_closing_answers_what_waits_refuses_what_comes_and_leaves_nothing_behind() -> None:
    engine = FakeEngine()
    engine.may_go_on.clear()
    batcher = make(max_batch=2)
    batcher.start()
    tasks = [*asked(batcher, engine, [1, 2, 3]), *asked(batcher, engine, [4], bulk=True)]
    await until(engine.running.is_set)
    closing = asyncio.create_task(batcher.close())
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError):
        await ask(batcher, engine, 5)
    engine.may_go_on.set()
    await closing
    assert await asyncio.gather(*tasks) == [1, 2, 3, 4]
    await batcher.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert not any(thread.is_alive() for thread in engine.threads)


async def test_an_idle_batcher_closes_started_or_not() -> None:
    async with started(make()):
        await asyncio.sleep(0)
    await make().close()


async def test_waiting_running_and_batch_sizes_are_measured() -> None:
    clock, telemetry = FakeClock(), Telemetry()

    def half_a_second() -> None:
        clock.now_s += 0.5

    engine = FakeEngine(on_run=half_a_second)
    batcher = make(clock, telemetry, max_batch=2)
    tasks = asked(batcher, engine, [1, 2, 3])
    await until(lambda: batcher.queue_length == 3)
    clock.now_s += 1
    async with started(batcher):
        await asyncio.gather(*tasks)
    # Two rows waited 1 s, the third also for the first batch.
    assert count(telemetry, "foldin_stage_seconds_sum", stage="queue") == pytest.approx(3.5)
    assert count(telemetry, "foldin_stage_seconds_count", stage="queue") == 3
    assert count(telemetry, "foldin_stage_seconds_sum", stage="engine") == pytest.approx(1.0)
    assert count(telemetry, "foldin_stage_seconds_count", stage="engine") == 2
    assert count(telemetry, "foldin_batch_size_sum") == 3
    assert count(telemetry, "foldin_batch_size_count") == 2


@given(
    rows=st.lists(st.tuples(st.integers(0, 1), st.booleans(), st.booleans()), max_size=40),
    max_batch=st.integers(1, 7),
)
@settings(deadline=None, max_examples=60)
def test_every_caller_who_stays_gets_their_own_answer(
    rows: list[tuple[int, bool, bool]], max_batch: int
) -> None:
    """Rows are (engine, bulk, whether the caller leaves)."""

    async def run() -> None:
        engines = [FakeEngine(), FakeEngine()]
        batcher = make(max_batch=max_batch)
        tasks = [
            asyncio.create_task(ask(batcher, engines[which], number, bulk=bulk))
            for number, (which, bulk, _) in enumerate(rows)
        ]
        await until(lambda: batcher.queue_length == len(rows))
        for task, (_, _, leaves) in zip(tasks, rows, strict=True):
            if leaves:
                task.cancel()
        async with started(batcher):
            answers = await asyncio.gather(*tasks, return_exceptions=True)
        staying = {number for number, row in enumerate(rows) if not row[2]}
        assert {n for n, answer in enumerate(answers) if answer == n} == staying
        for which, engine in enumerate(engines):
            assert all(1 <= len(batch) <= max_batch for batch in engine.batches)
            run_rows = [number for batch in engine.batches for number in batch]
            mine = [n for n in sorted(staying) if rows[n][0] == which]
            # Online rows first, both kinds in the order of their coming.
            assert run_rows == sorted(mine, key=lambda n: (rows[n][1], n))

    asyncio.run(run())


class Panic(BaseException):
    """What an extension raises that has failed within itself."""


async def test_a_panic_of_the_engine_fails_its_row_and_the_thread_goes_on() -> None:
    panics = [Panic("out of bounds"), asyncio.CancelledError(), SystemExit()]

    def panic() -> None:
        if panics:
            raise panics.pop(0)

    engine = FakeEngine(on_run=panic)
    async with started(make()) as batcher:
        for kind in ("Panic", "CancelledError", "SystemExit"):
            with pytest.raises(RuntimeError, match=kind):
                await ask(batcher, engine, 1)
        assert await ask(batcher, engine, 2) == 2


@pytest.mark.parametrize("bulk", [False, True])
async def test_a_batcher_that_ends_before_it_began_refuses_what_waits(bulk: bool) -> None:
    batcher = make()
    (waiting,) = asked(batcher, FakeEngine(), [1], bulk=bulk)
    await until(lambda: batcher.queue_length == 1)
    await batcher.close()
    with pytest.raises(OverloadedError):
        await waiting
    assert batcher.queue_length == 0
