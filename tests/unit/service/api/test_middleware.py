"""Whatever happens inside, a request is counted, timed, logged, and answered if it can be."""

import logging
from collections.abc import Iterator

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.middleware import RequestLog
from service.telemetry import Telemetry


def http_scope() -> Scope:
    return {"type": "http", "method": "GET", "path": "/x", "headers": []}


async def nothing() -> Message:
    return {"type": "http.disconnect"}


async def served_by(app: ASGIApp, telemetry: Telemetry | None = None) -> list[Message]:
    ticks: Iterator[float] = iter((10.0, 10.25))
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    logged = RequestLog(app, telemetry or Telemetry(), lambda: next(ticks))
    await logged(http_scope(), nothing, send)
    return sent


async def test_an_unexpected_error_is_one_trace_and_an_answer_without_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def app(*_: object) -> None:
        raise KeyError("s3cret")

    telemetry = Telemetry()
    start, body = await served_by(app, telemetry)
    assert start["status"] == 500
    assert b"/problems/internal-error" in body["body"]
    assert b"s3cret" not in body["body"]
    (error,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert error.exc_info is not None
    assert b'status="500"} 1.0' in telemetry.exposition()


async def test_half_an_answer_is_left_to_the_server(caplog: pytest.LogCaptureFixture) -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise OSError("disk gone")

    telemetry = Telemetry()
    with pytest.raises(OSError, match="disk gone"):
        await served_by(app, telemetry)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert b'status="200"} 1.0' in telemetry.exposition()


async def test_a_caller_who_left_is_counted_and_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def app(*_: object) -> None:
        raise ClientDisconnect

    telemetry = Telemetry()
    assert await served_by(app, telemetry) == []
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert b'status="499"} 1.0' in telemetry.exposition()


async def test_time_is_measured_from_the_first_to_the_last() -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})

    telemetry = Telemetry()
    await served_by(app, telemetry)
    assert b'foldin_request_seconds_sum{route="other"} 0.25' in telemetry.exposition()


async def test_what_is_not_http_passes_through() -> None:
    seen: list[str] = []

    async def app(scope: Scope, *_: object) -> None:
        seen.append(scope["type"])

    async def send(_: Message) -> None: ...

    await RequestLog(app, Telemetry(), lambda: 0.0)({"type": "lifespan"}, nothing, send)
    assert seen == ["lifespan"]


async def test_a_request_is_one_line_with_fixed_fields(caplog: pytest.LogCaptureFixture) -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 204})

    caplog.set_level(logging.INFO)
    (start,) = await served_by(app)
    (line,) = caplog.records
    request_id = dict(start["headers"])[b"x-request-id"].decode()
    assert (line.name, line.levelname, line.getMessage()) == (
        "service.api.middleware", "INFO", "request",
    )  # fmt: skip
    assert line.__dict__["fields"] == {
        "request_id": request_id,
        "method": "GET",
        "route": "other",
        "status": 204,
        "milliseconds": 250.0,
    }


async def test_no_line_is_made_that_nobody_reads(caplog: pytest.LogCaptureFixture) -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})

    caplog.set_level(logging.WARNING)
    await served_by(app)
    assert caplog.records == []
