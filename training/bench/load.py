"""What driving a server with requests gave, whoever drove it."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, Self, final


@final
@dataclass(frozen=True, slots=True)
class Target:
    """A server on this machine, and the requests that it is sent in rotation.

    Attributes:
        port: On 127.0.0.1.
        bodies: JSON bodies for ``POST /recommend``, at least one.
    """

    port: int
    bodies: tuple[bytes, ...]

    def request(self, number: int) -> bytes:
        """Give a whole HTTP/1.1 request."""
        body = self.bodies[number % len(self.bodies)]
        head = (
            f"POST /recommend HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


@final
@dataclass(frozen=True, slots=True)
class Load:
    """One stretch of load.

    Attributes:
        requests: Answered ones, failures among them.
        errors: Answers that were not 200, and connections that broke.
        seconds: From the first request sent to the last answer counted.
        p50_ms: Median latency.
        p99_ms: Latency that one request in a hundred exceeds.
    """

    requests: int
    errors: int
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def rps(self) -> float:
        """Answers a second."""
        return self.requests / self.seconds if self.seconds else 0.0

    @classmethod
    def of(cls, latencies_s: Sequence[float], errors: int, seconds: float) -> Self:
        """Summarise single latencies."""
        ordered = sorted(latencies_s)
        return cls(
            requests=len(ordered),
            errors=errors,
            seconds=seconds,
            p50_ms=1e3 * quantile(ordered, 0.5),
            p99_ms=1e3 * quantile(ordered, 0.99),
        )


class ClosedLoop(Protocol):
    """Keeps a number of connections busy: each sends as soon as it was answered."""

    @property
    def name(self) -> str:
        """Who drives, as the record names it."""

    def drive(self, target: Target, connections: int, seconds: float) -> Load:
        """Drive for that long."""


def quantile(ordered: Sequence[float], share: float) -> float:
    """Give the smallest value that at least this share does not exceed; NaN of nothing."""
    if not ordered:
        return math.nan
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def median_of(loads: Sequence[Load], figure: Callable[[Load], float]) -> float:
    """Give the median of a figure over repeats."""
    return statistics.median(figure(load) for load in loads)
