"""Workers that end are replaced, none are that cannot start at first, and all end together."""

import signal
import socket
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess

import pytest

from service import supervisor as module
from service.server import ENDING_SIGNALS, RELOAD_SIGNAL
from service.supervisor import CANNOT_START, Supervisor, let_signals_in


class FakeProcess(BaseProcess):
    """Ends when it is told to; a stubborn one only when it is killed."""

    def __init__(self, *, ends_with: int | None = None, stubborn: bool = False) -> None:
        self._ours, self._theirs = socket.socketpair()
        self._code = ends_with
        self._stubborn = stubborn
        self.was_killed = False
        if ends_with is not None:
            self._theirs.close()

    @property
    def sentinel(self) -> int:
        return self._ours.fileno()

    @property
    def exitcode(self) -> int | None:
        return self._code

    @property
    def pid(self) -> int:
        return 1

    def is_alive(self) -> bool:
        return self._code is None

    def terminate(self) -> None:
        if not self._stubborn:
            self._code = 0

    def kill(self) -> None:
        self.was_killed = True
        self._code = -signal.SIGKILL

    def join(self, timeout: float | None = None) -> None:
        assert timeout is None or timeout >= 0

    def close(self) -> None:
        self._ours.close()
        self._theirs.close()


class Office:
    """Starts the processes that a test has lined up, and ends the service after the last one."""

    def __init__(self, *lined_up: FakeProcess) -> None:
        self.lined_up = list(lined_up)
        self.started: list[str] = []
        self.buried: list[str] = []

    def start(self, name: str) -> BaseProcess:
        assert signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, [])
        process = self.lined_up[len(self.started)]
        self.started.append(name)
        if len(self.started) == len(self.lined_up):
            signal.raise_signal(signal.SIGTERM)  # arrives when signals are let in again
        return process

    def supervisor(self, *names: str) -> Supervisor:
        return Supervisor(list(names), self.start, self.buried.append)


@pytest.fixture(autouse=True)
def signals_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(module, "MIN_LIFE_S", 0.0)
    monkeypatch.setattr(module, "TRY_AGAIN_S", 0.0)
    monkeypatch.setattr(module, "KILL_AFTER_S", 0.0)
    handled = (*ENDING_SIGNALS, RELOAD_SIGNAL)
    before = {number: signal.getsignal(number) for number in handled if number is not None}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def line_up() -> Iterator[Callable[..., Office]]:
    processes: list[FakeProcess] = []

    def make(*lined_up: FakeProcess) -> Office:
        processes.extend(lined_up)
        return Office(*lined_up)

    yield make
    for process in processes:
        process.close()


def test_a_signal_ends_all_workers_with_status_zero(line_up: Callable[..., Office]) -> None:
    office = line_up(FakeProcess(), FakeProcess())
    supervisor = office.supervisor("a", "b")
    assert supervisor.run() == 0
    assert office.started == ["a", "b"]
    assert all(process.is_alive() for process in office.lined_up)
    supervisor.end()
    assert not any(process.is_alive() for process in office.lined_up)
    assert not any(process.was_killed for process in office.lined_up)


def test_a_worker_that_ends_is_replaced_under_its_name(
    line_up: Callable[..., Office], caplog: pytest.LogCaptureFixture
) -> None:
    office = line_up(FakeProcess(), FakeProcess(ends_with=-9), FakeProcess())
    assert office.supervisor("a", "b").run() == 0
    assert office.started == ["a", "b", "b"]
    assert office.buried == ["b"]
    assert "a worker ended and is replaced" in caplog.text


def test_a_worker_that_dies_at_once_is_not_replaced_at_once(
    line_up: Callable[..., Office], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MIN_LIFE_S", 3600.0)
    office = line_up(FakeProcess(ends_with=1), FakeProcess(), FakeProcess())
    supervisor = office.supervisor("a")
    supervisor._start_missing()
    assert supervisor._bury_dead()
    supervisor._start_missing()
    assert office.started == ["a"]


def test_a_worker_that_cannot_start_ends_the_service(line_up: Callable[..., Office]) -> None:
    office = line_up(FakeProcess(), FakeProcess(ends_with=CANNOT_START), FakeProcess())
    supervisor = office.supervisor("a", "b")
    assert supervisor.run() == 1
    assert office.started == ["a", "b"]
    supervisor.end()
    assert not office.lined_up[0].is_alive()


def test_a_replacement_that_cannot_start_is_tried_again_while_another_worker_runs(
    line_up: Callable[..., Office], caplog: pytest.LogCaptureFixture
) -> None:
    cannot_start = FakeProcess(ends_with=CANNOT_START)
    office = line_up(FakeProcess(), FakeProcess(ends_with=-9), cannot_start, FakeProcess())
    assert office.supervisor("a", "b").run() == 0
    assert office.started == ["a", "b", "b", "b"]
    assert office.lined_up[0].is_alive()
    assert caplog.messages == [
        "a worker ended and is replaced",
        "a worker cannot start and is tried again",
    ]


def test_a_replacement_that_cannot_start_is_not_tried_again_at_once(
    line_up: Callable[..., Office], monkeypatch: pytest.MonkeyPatch
) -> None:
    cannot_start = FakeProcess(ends_with=CANNOT_START)
    office = line_up(FakeProcess(), FakeProcess(ends_with=-9), cannot_start, FakeProcess())
    supervisor = office.supervisor("a", "b")
    monkeypatch.setattr(module, "TRY_AGAIN_S", 3600.0)
    for _ in range(4):
        supervisor._start_missing()
        assert supervisor._bury_dead()
    assert office.started == ["a", "b", "b"]


def test_a_replacement_that_cannot_start_ends_a_service_of_which_nobody_is_left(
    line_up: Callable[..., Office],
) -> None:
    cannot_start = FakeProcess(ends_with=CANNOT_START)
    office = line_up(FakeProcess(ends_with=-9), cannot_start, FakeProcess())
    assert office.supervisor("a").run() == 1
    assert office.started == ["a", "a"]


def test_a_worker_that_hangs_is_killed(line_up: Callable[..., Office]) -> None:
    office = line_up(FakeProcess(), FakeProcess(stubborn=True))
    supervisor = office.supervisor("a", "b")
    assert supervisor.run() == 0
    supervisor.end()
    assert [process.was_killed for process in office.lined_up] == [False, True]


@pytest.mark.skipif(RELOAD_SIGNAL is None, reason="Windows has no SIGHUP")
def test_a_wish_for_a_reload_is_passed_on_once_to_workers_that_run(
    line_up: Callable[..., Office], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    monkeypatch.setattr("os.kill", lambda _, number: sent.append(number))
    office = line_up(FakeProcess(), FakeProcess(ends_with=1), FakeProcess())
    supervisor = office.supervisor("a", "b")
    signal.signal(signal.SIGTERM, supervisor._stop)
    supervisor._start_missing()
    supervisor._pass_reload_on()
    assert sent == []
    supervisor._want_reload()
    supervisor._pass_reload_on()
    supervisor._pass_reload_on()
    assert sent == [RELOAD_SIGNAL]


def test_a_signal_held_back_arrives_when_it_is_let_in() -> None:
    seen: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: seen.append(number))
    with module._signals_held_back():
        signal.raise_signal(signal.SIGTERM)
        assert not seen
        let_signals_in()
        assert seen == [signal.SIGTERM]
