"""Around every request: an id, a counter, a time, a line in the log, and the last defence."""

import logging
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

from prometheus_client import Counter, Histogram
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.bodies import header
from service.api.problems import problem_response
from service.recommendation import Recommendation
from service.telemetry import Telemetry

logger = logging.getLogger(__name__)

ID_HEADER: Final = b"x-request-id"
SANE_ID: Final = re.compile(rb"[\x21-\x7e]{1,128}")
# No browser may take an answer for anything but what it says it is.
NO_SNIFFING: Final = (b"x-content-type-options", b"nosniff")
# As nginx logs it: the caller left before there was an answer.
CALLER_LEFT: Final = 499
# Labels must be few whatever callers send.
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER: Final = "other"
# A histogram is 14 series a label; only these routes have a time worth watching.
TIMED: Final = frozenset({"/recommend", "/recommend/batch", "/users/{user_id}/recommendations"})
# Where a route leaves what the line of its request is to say besides.
NOTED: Final = "noted"
PROBES: Final = frozenset({"/livez", "/readyz", "/metrics"})


def note_list(scope: Scope, recommendation: Recommendation) -> None:
    """Have the line of a request tell which list was sent, and who made it."""
    scope["state"][NOTED] = _told_of(recommendation)


def note_row(scope: Scope, recommendation: Recommendation) -> None:
    """Tell the same of a row of a batch, in a line of its own: for whom asks for that many."""
    if logger.isEnabledFor(logging.DEBUG):
        fields = {"request_id": scope["state"]["request_id"], **_told_of(recommendation)}
        logger.debug("row", extra={"fields": fields})


def _told_of(recommendation: Recommendation) -> dict[str, str | None]:
    return {
        "recommendation_id": recommendation.recommendation_id,
        "model": recommendation.model_name,
        "version": recommendation.model_version,
        "source": recommendation.source,
        "variant": recommendation.variant,
    }


@final
class RequestLog:
    """ASGI middleware; the outermost one, so that it sees failures too."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry, clock: Callable[[], float]) -> None:
        self._app = app
        self._telemetry = telemetry
        self._clock = clock
        # By their labels, of which there are few; to look them up anew takes 2 us a request.
        self._meters: dict[tuple[str, str, int], _Meters] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; scopes of other types pass through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s = self._clock()
        sender = _Sender(send, _request_id(scope))
        scope.setdefault("state", {})["request_id"] = sender.request_id
        try:
            await self._app(scope, receive, sender)
        except ClientDisconnect:
            pass  # nobody is there to be answered
        except Exception:
            if sender.status != CALLER_LEFT:
                raise  # half an answer is out: the server logs it and breaks the connection off
            fields = {"request_id": sender.request_id}
            logger.exception("unexpected failure", extra={"fields": fields})
            await problem_response(Exception(), sender.request_id)(scope, receive, sender)
        finally:
            self._record(scope, sender, self._clock() - started_s)

    def _record(self, scope: Scope, sender: "_Sender", seconds: float) -> None:
        # Without a route: what nobody serves, and the files of /docs.
        route = getattr(scope.get("route"), "path_format", OTHER)
        method = scope["method"] if scope["method"] in METHODS else OTHER
        self._count(route, method, sender.status, seconds)
        level = logging.DEBUG if route in PROBES else logging.INFO
        if not logger.isEnabledFor(level):
            return
        fields = {
            "request_id": sender.request_id,
            "method": method,
            "route": route,
            "status": sender.status,
            "milliseconds": round(seconds * 1000, 3),
            **scope["state"].get(NOTED, {}),
        }
        # Not logger.log, which walks up the stack for a line number: a quarter of a line's price.
        line = logger.makeRecord(
            logger.name, level, __file__, 0, "request", (), None, extra={"fields": fields}
        )
        logger.handle(line)

    def _count(self, route: str, method: str, status: int, seconds: float) -> None:
        meters = self._meters.get((route, method, status))
        if meters is None:
            meters = self._meters[route, method, status] = _Meters(
                self._telemetry.requests.labels(route, method, str(status)),
                self._telemetry.request_seconds.labels(route if route in TIMED else OTHER),
            )
        meters.requests.inc()
        meters.seconds.observe(seconds)


@final
@dataclass(frozen=True, slots=True)
class _Meters:
    """What counts and times the requests of one route, method and status."""

    requests: Counter
    seconds: Histogram


@final
class _Sender:
    """Sends the answer on, with the headers that all answers have; remembers its status."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self.request_id = request_id
        self.status = CALLER_LEFT

    async def __call__(self, message: Message) -> None:
        """Send one message."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [
                *message.get("headers", ()),
                (ID_HEADER, self.request_id.encode()),
                NO_SNIFFING,
            ]
        await self._send(message)


def _request_id(scope: Scope) -> str:
    given = header(scope, ID_HEADER)
    return given.decode() if SANE_ID.fullmatch(given) else secrets.token_hex(16)
