import logging
from itertools import pairwise

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from service.latents.circuit_breaker import FAILURES_TO_OPEN, CircuitBreaker, State

WAIT_S = 3.0


class Clock:
    """Shows what it is set to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def opened(clock: Clock, states: list[tuple[str, State]] | None = None) -> CircuitBreaker:
    states = [] if states is None else states
    breaker = CircuitBreaker("read", WAIT_S, clock, lambda *state: states.append(state))
    for _ in range(FAILURES_TO_OPEN):
        breaker.failed()
    return breaker


def test_only_failures_in_a_row_open_it() -> None:
    breaker = CircuitBreaker("read", WAIT_S, Clock(), lambda *_: None)
    for _ in range(3):
        for _ in range(FAILURES_TO_OPEN - 1):
            breaker.failed()
        breaker.succeeded()
    assert breaker.is_closed
    for _ in range(FAILURES_TO_OPEN):
        breaker.failed()
    assert breaker.state == "open"


def test_a_probe_begins_after_the_wait_and_alone() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now_s += WAIT_S - 0.1
    assert not breaker.begins_probe()
    clock.now_s += 0.1
    assert breaker.begins_probe()
    assert breaker.state == "half-open"
    clock.now_s += 10 * WAIT_S
    assert not breaker.begins_probe()


def test_a_probe_that_fails_begins_the_wait_anew() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now_s += WAIT_S
    assert breaker.begins_probe()
    breaker.end_probe(succeeded=False)
    assert breaker.state == "open"
    assert not breaker.begins_probe()
    clock.now_s += WAIT_S
    assert breaker.begins_probe()


def test_after_a_probe_that_succeeded_as_many_failures_open_it_as_before() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now_s += WAIT_S
    assert breaker.begins_probe()
    breaker.end_probe(succeeded=True)
    assert breaker.is_closed
    assert not breaker.begins_probe()
    for _ in range(FAILURES_TO_OPEN - 1):
        breaker.failed()
    assert breaker.is_closed
    breaker.failed()
    assert breaker.state == "open"


def test_operations_that_began_before_it_opened_change_nothing() -> None:
    clock = Clock()
    breaker = opened(clock)
    breaker.succeeded()
    states = [breaker.state]
    clock.now_s += WAIT_S
    assert breaker.begins_probe()
    for _ in range(FAILURES_TO_OPEN):
        breaker.failed()
    assert [*states, breaker.state] == ["open", "half-open"]


def test_every_transition_is_told_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    states: list[tuple[str, State]] = []
    with caplog.at_level(logging.DEBUG):
        breaker = opened(clock, states)
        for succeeded in False, True:
            clock.now_s += WAIT_S
            assert breaker.begins_probe()
            breaker.end_probe(succeeded=succeeded)
    expected: list[State] = ["closed", "open", "half-open", "open", "half-open", "closed"]
    assert states == [("read", state) for state in expected]
    logged = [(line.levelname, line.__dict__["fields"]) for line in caplog.records]
    assert [(fields["before"], fields["now"]) for _, fields in logged] == [*pairwise(expected)]
    # An outage is one line when it begins and one when it ends.
    assert [level for level, _ in logged] == ["WARNING", "DEBUG", "DEBUG", "DEBUG", "INFO"]


class AnyCourse(RuleBasedStateMachine):
    """Whatever happens in whatever order."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.is_probing = False
        self.told: list[tuple[str, State]] = []
        tell = self.told.append
        self.breaker = CircuitBreaker("read", WAIT_S, self.clock, lambda *state: tell(state))

    @rule(times=st.integers(1, 2 * FAILURES_TO_OPEN))
    def fail(self, times: int) -> None:
        for _ in range(times):
            self.breaker.failed()

    @rule()
    def succeed(self) -> None:
        was = self.breaker.state
        self.breaker.succeeded()
        assert self.breaker.state == was

    @rule(seconds=st.floats(0, 2 * WAIT_S))
    def wait(self, seconds: float) -> None:
        self.clock.now_s += seconds

    @rule()
    def try_to_probe(self) -> None:
        was_open = self.breaker.state == "open"
        begins = self.breaker.begins_probe()
        assert not (begins and (self.is_probing or not was_open))
        self.is_probing = self.is_probing or begins

    @precondition(lambda self: self.is_probing)
    @rule(succeeded=st.booleans())
    def end_the_probe(self, *, succeeded: bool) -> None:
        self.is_probing = False
        self.breaker.end_probe(succeeded=succeeded)
        assert self.breaker.is_closed == succeeded

    @invariant()
    def it_is_half_open_while_probed_and_tells_the_truth(self) -> None:
        assert (self.breaker.state == "half-open") == self.is_probing
        assert self.told[-1] == ("read", self.breaker.state)
        assert all(before != now for before, now in pairwise(self.told))


TestAnyCourse = AnyCourse.TestCase
