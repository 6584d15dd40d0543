"""A circuit breaker: who fails again and again is left alone, and asked now and then."""

import logging
from collections.abc import Callable
from typing import Final, Literal, final

logger = logging.getLogger(__name__)

State = Literal["closed", "half-open", "open"]

# In a row. One pause of the machine makes some operations late at once; it is no outage.
FAILURES_TO_OPEN: Final = 5


@final
class CircuitBreaker:
    """Closed: operations go ahead. Open: none does. Half-open: one probe decides.

    It is told what came of operations and never runs any. To be used from one event loop.
    """

    def __init__(
        self,
        name: str,
        wait_s: float,
        clock: Callable[[], float],
        on_state: Callable[[str, State], None],
    ) -> None:
        """Begin closed.

        Args:
            name: What it breaks, for the log and ``on_state``.
            wait_s: Time between opening, or a probe that failed, and the next probe.
            clock: Gives seconds and never goes back, as ``time.monotonic`` does.
            on_state: Told the name and the state, now and at every change.
        """
        self._name = name
        self._wait_s = wait_s
        self._clock = clock
        self._on_state = on_state
        self._state: State = "closed"
        self._failures = 0
        self._opened_at_s = 0.0
        on_state(name, "closed")

    @property
    def state(self) -> State:
        """What it lets through."""
        return self._state

    @property
    def is_closed(self) -> bool:
        """Whether operations may go ahead."""
        return self._state == "closed"

    def succeeded(self) -> None:
        """Take note of an operation; one that began before it opened says nothing any more."""
        self._failures = 0

    def failed(self) -> None:
        """Take note of an operation; enough of them in a row open it."""
        self._failures += 1
        if self.is_closed and self._failures >= FAILURES_TO_OPEN:
            self._open()

    def begins_probe(self) -> bool:
        """Tell whether to probe now. If so, no other probe begins before ``end_probe``."""
        if self._state != "open" or self._clock() - self._opened_at_s < self._wait_s:
            return False
        self._change("half-open")
        return True

    def end_probe(self, *, succeeded: bool) -> None:
        """Close after a probe that succeeded, else wait again."""
        if succeeded:
            self._failures = 0
            self._change("closed")
        else:
            self._open()

    def _open(self) -> None:
        self._opened_at_s = self._clock()
        self._change("open")

    def _change(self, state: State) -> None:
        before, self._state = self._state, state
        # Probes come and go all through an outage: those who watch want its begin and its end.
        level = logging.WARNING if before == "closed" else logging.INFO
        if "half-open" in {before, state} and state != "closed":
            level = logging.DEBUG
        fields = {"breaker": self._name, "before": before, "now": state}
        logger.log(level, "circuit breaker", extra={"fields": fields})
        self._on_state(self._name, state)
