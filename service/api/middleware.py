"""Around every request: an id, a counter, a time, a line in the log, and the last defence."""

import logging
import re
import uuid
from collections.abc import Callable
from typing import Final, final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.problems import problem_response
from service.telemetry import Telemetry

logger = logging.getLogger(__name__)

ID_HEADER: Final = "X-Request-ID"
SANE_ID: Final = re.compile(r"[\x21-\x7e]{1,128}")
# As nginx logs it: the caller left before there was an answer.
CALLER_LEFT: Final = 499
# Labels must be few whatever callers send.
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER: Final = "other"
PROBES: Final = frozenset({"/livez", "/readyz", "/metrics"})


@final
class RequestLog:
    """ASGI middleware; the outermost one, so that it sees failures too."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry, clock: Callable[[], float]) -> None:
        self._app = app
        self._telemetry = telemetry
        self._clock = clock

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
        self._telemetry.requests.labels(route, method, str(sender.status)).inc()
        self._telemetry.request_seconds.labels(route).observe(seconds)
        fields = {
            "request_id": sender.request_id,
            "method": method,
            "route": route,
            "status": sender.status,
            "milliseconds": round(seconds * 1000, 3),
        }
        level = logging.DEBUG if route in PROBES else logging.INFO
        logger.log(level, "request", extra={"fields": fields})


@final
class _Sender:
    """Sends the answer on, with the request's id; remembers its status."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self.request_id = request_id
        self.status = CALLER_LEFT

    async def __call__(self, message: Message) -> None:
        """Send one message."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message)[ID_HEADER] = self.request_id
        await self._send(message)


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get(ID_HEADER, "")
    return given if SANE_ID.fullmatch(given) else uuid.uuid4().hex
