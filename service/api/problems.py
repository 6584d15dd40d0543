"""Errors as answers: the one table of statuses, and RFC 9457 problem bodies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, TypeAlias, final

import orjson
from fastapi import Request, Response
from starlette.exceptions import HTTPException

from service.errors import (
    DeadlineExceededError,
    DrainingError,
    EmptyHistoryError,
    FoldinError,
    HistoryTooLongError,
    InvalidRequestError,
    NoPreviousModelError,
    NotReadyError,
    OverloadedError,
    ReloadRefusedError,
    StoreUnavailableError,
    TooManyResultsError,
    UnknownItemError,
    UnknownItemsError,
    UnknownModelError,
    UnknownUserError,
    UnsupportedControlError,
    UnsupportedViewError,
)

MEDIA_TYPE: Final = "application/problem+json"
# Loading takes seconds, as does an outage of Redis; a client that asks every second notices soon
# and does no harm.
NOT_READY_RETRY_S: Final = 1

ProblemBody: TypeAlias = dict[str, object]


class MalformedBodyError(InvalidRequestError):
    """The body is not JSON in UTF-8."""


class UnsupportedMediaTypeError(InvalidRequestError):
    """The body does not say that it is JSON."""


class BodyTooLargeError(InvalidRequestError):
    """The body has more bytes than the service takes."""


class BodyTooSlowError(InvalidRequestError):
    """The end of the body does not come."""


class BatchTooLongError(InvalidRequestError):
    """A batch has more rows than the service takes."""


class UnauthenticatedError(FoldinError):
    """A key is needed, and the request has none that is known."""


class ForbiddenError(FoldinError):
    """The key of the request is not for this, or nobody may do it."""


@final
@dataclass(frozen=True, slots=True)
class WrongField:
    """A field that cannot be used: where it stands (JSON pointer), and why."""

    pointer: str
    detail: str


class InvalidFieldsError(InvalidRequestError):
    """Fields have the wrong type, a wrong value, or a name that means nothing.

    Args:
        fields: The wrong fields that can be named, the first one first; maybe none.
        count: How many there are.
    """

    def __init__(self, fields: Sequence[WrongField], count: int) -> None:
        first = f"{fields[0].pointer or 'the body'}: {fields[0].detail}" if fields else ""
        super().__init__(first or f"{count} fields are wrong")
        self.fields = tuple(fields)


@final
@dataclass(frozen=True, slots=True)
class Kind:
    """What all problems of one kind share.

    Attributes:
        status: HTTP status.
        slug: Last part of ``type``; a promise to clients.
        title: What happened, the same for every instance.
        pointer: JSON pointer to the field at fault, where it is always the same.
        hint: What the caller may do about it.
    """

    status: int
    slug: str
    title: str
    pointer: str = ""
    hint: str = ""


PROBLEMS: Final[Mapping[type[Exception], Kind]] = {
    UnauthenticatedError: Kind(
        401, "unauthenticated", "A key is needed",
        hint="Send the header Authorization: Bearer KEY, or X-API-Key: KEY.",
    ),
    ForbiddenError: Kind(403, "forbidden", "The key does not allow this"),
    MalformedBodyError: Kind(400, "malformed-json", "The body is not JSON"),
    BodyTooSlowError: Kind(408, "body-too-slow", "The body did not come in time"),
    BodyTooLargeError: Kind(413, "body-too-large", "The body is too large"),
    UnsupportedMediaTypeError: Kind(
        415, "unsupported-media-type", "The body is not declared as JSON",
        hint="Send the header Content-Type: application/json.",
    ),
    InvalidFieldsError: Kind(422, "invalid-fields", "Fields are wrong, missing or unknown"),
    BatchTooLongError: Kind(422, "batch-too-long", "Too many rows", "/requests"),
    EmptyHistoryError: Kind(
        422, "empty-history", "Nothing to recommend from", "/history",
        hint="Post an item the model knows, or let fallback be true for the most popular items.",
    ),
    TooManyResultsError: Kind(422, "too-many-results", "k is too large", "/k"),
    HistoryTooLongError: Kind(
        422, "history-too-long", "Too many items in a list",
        hint="Post the newest entries only.",
    ),
    UnsupportedControlError: Kind(
        422, "unsupported-control", "The model has nothing for this control",
        hint="GET /models lists what is served; leave the control out, or ask another model.",
    ),
    UnsupportedViewError: Kind(
        422, "unsupported-view", "The model has nothing to show here", "/model",
        hint="GET /models says by its controls what each model has.",
    ),
    UnknownItemsError: Kind(
        422, "unknown-items", "Items are not in the catalogue",
        hint='Let on_unknown be "ignore" to have them listed and left out.',
    ),
    InvalidRequestError: Kind(422, "invalid-request", "The request cannot be answered"),
    UnknownUserError: Kind(
        404, "unknown-user", "Nothing is kept for this user", "/user_id",
        hint="Post a history, or let fallback be true for the most popular items.",
    ),
    UnknownItemError: Kind(404, "unknown-item", "No such item", hint="GET /items finds items."),
    UnknownModelError: Kind(
        404, "unknown-model", "No such model", "/model", hint="GET /models lists what is served.",
    ),
    NotReadyError: Kind(503, "not-ready", "The model is being loaded"),
    StoreUnavailableError: Kind(
        503, "store-unavailable", "What is kept of a user cannot be changed now",
        hint="Send the request again; of an event with an event_id that never makes two.",
    ),
    DrainingError: Kind(503, "draining", "The service is about to end"),
    ReloadRefusedError: Kind(
        409, "reload-refused", "The bundle cannot be served; the model before answers on",
    ),
    NoPreviousModelError: Kind(409, "no-previous-model", "There is no model to go back to"),
    OverloadedError: Kind(503, "overloaded", "The service is at capacity"),
    DeadlineExceededError: Kind(504, "deadline-exceeded", "The answer would have come too late"),
}  # fmt: skip

INTERNAL: Final = Kind(500, "internal-error", "The service failed")


def problem_body(error: Exception, request_id: str, row: str = "") -> ProblemBody:
    """Describe an error to the caller; one that is not in the table shows nothing of itself.

    Args:
        error: Any exception.
        request_id: For finding the request in the log.
        row: JSON pointer to the row of a batch, set in front of all pointers.
    """
    kind = _kind_of(error)
    body: ProblemBody = {
        "type": f"/problems/{kind.slug}",
        "title": kind.title,
        "status": kind.status,
        "request_id": request_id,
    }
    if kind is not INTERNAL:
        body["detail"] = str(error)
    if isinstance(error, InvalidFieldsError) and error.fields:
        body["pointer"] = row + error.fields[0].pointer
        body["errors"] = [
            {"pointer": row + field.pointer, "detail": field.detail} for field in error.fields
        ]
    elif isinstance(error, (HistoryTooLongError, UnsupportedControlError)):
        body["pointer"] = f"{row}/{error.field}"
    elif kind.pointer or row:
        body["pointer"] = row + kind.pointer
    if kind.hint:
        body["hint"] = kind.hint
    return body


async def on_error(request: Request, error: Exception) -> Response:
    """Answer an error of the table, or a refusal of the router; any other is raised on."""
    if isinstance(error, HTTPException):
        return _refusal(request, error)
    return known_problem(error, request.state.request_id)


def known_problem(error: Exception, request_id: str) -> Response:
    """Make the whole answer to an error of the table; any other is raised on."""
    if _kind_of(error) is INTERNAL:
        raise error
    return problem_response(error, request_id)


def problem_response(error: Exception, request_id: str) -> Response:
    """Make the whole answer to an error."""
    headers: dict[str, str] = {}
    if isinstance(error, OverloadedError):
        headers["Retry-After"] = str(error.retry_after_s)
    elif isinstance(error, (NotReadyError, StoreUnavailableError)):
        headers["Retry-After"] = str(NOT_READY_RETRY_S)
    elif isinstance(error, BodyTooSlowError):
        headers["Connection"] = "close"  # the rest of the body would stand before the next request
    elif isinstance(error, UnauthenticatedError):
        headers["WWW-Authenticate"] = 'Bearer realm="foldin"'
    return _response(problem_body(error, request_id), _kind_of(error).status, headers)


def _kind_of(error: Exception) -> Kind:
    return next((PROBLEMS[cls] for cls in type(error).__mro__ if cls in PROBLEMS), INTERNAL)


def _response(body: ProblemBody, status: int, headers: Mapping[str, str]) -> Response:
    return Response(orjson.dumps(body), status, headers, media_type=MEDIA_TYPE)


def _refusal(request: Request, error: HTTPException) -> Response:
    """Say that there is no such route (404) or no such method on it (405)."""
    phrase = HTTPStatus(error.status_code).phrase
    body: ProblemBody = {
        "type": f"/problems/{phrase.lower().replace(' ', '-')}",
        "title": phrase,
        "status": error.status_code,
        "detail": f"{request.method} is not served at this path",
        "hint": "GET /docs lists what is.",
        "request_id": request.state.request_id,
    }
    return _response(body, error.status_code, error.headers or {})
