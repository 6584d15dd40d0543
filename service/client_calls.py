"""The requests of the client, and how their answers are read: the same for both of its kinds."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeAlias, TypeVar, final
from urllib.parse import quote

import httpx

from service.client_messages import (
    CatalogItem,
    Entry,
    KeptUser,
    Recommendation,
    Row,
    ServiceError,
    SimilarItems,
)

# The service takes this much in before any of it is answered. httpx sends all of a body before
# it reads: with more, each would wait for the other to read.
MAX_POST_BYTES: Final = 64 * 1024
BATCH: Final = "/recommend/batch"
NDJSON: Final = {"content-type": "application/x-ndjson"}

AnswerT = TypeVar("AnswerT")
RowAnswer: TypeAlias = Recommendation | ServiceError


@final
@dataclass(frozen=True, slots=True)
class Call(Generic[AnswerT]):
    """One request.

    Attributes:
        method: Of HTTP.
        path: Below the address of the service.
        sent: What httpx is to send with it.
        part: The part of the answer that is wanted; empty: all of it.
    """

    method: str
    path: str
    sent: Mapping[str, Any] = field(default_factory=dict)
    part: str = ""

    def answer(self, response: httpx.Response) -> AnswerT:
        """Read the answer.

        Raises:
            ServiceError: There is none.
        """
        check(response)
        content: Any = response.json() if response.content else None
        wanted: AnswerT = content[self.part] if self.part else content
        return wanted


def recommend(row: Row) -> Call[Recommendation]:
    """Ask for one list."""
    return Call("POST", "/recommend", {"json": row})


def recommend_to_user(user_id: str, options: Mapping[str, Any]) -> Call[Recommendation]:
    """Ask for the list of a user."""
    return Call("GET", f"/users/{_quoted(user_id)}/recommendations", _parameters(options))


def add_interactions(user_id: str, events: Sequence[str | Entry]) -> Call[KeptUser]:
    """Add events to what is kept of a user."""
    path = f"/users/{_quoted(user_id)}/interactions"
    return Call("POST", path, {"json": {"events": list(events)}})


def forget_user(user_id: str) -> Call[None]:
    """Forget a user."""
    return Call("DELETE", f"/users/{_quoted(user_id)}")


def similar(item_id: str, options: Mapping[str, Any]) -> Call[SimilarItems]:
    """Ask what is like an item."""
    return Call("GET", f"/items/{_quoted(item_id)}/similar", _parameters(options))


def items(query: str, limit: int) -> Call[list[CatalogItem]]:
    """Ask for items by their titles."""
    return Call("GET", "/items", {"params": {"query": query, "limit": limit}}, part="items")


def models() -> Call[list[dict[str, Any]]]:
    """Ask what is served."""
    return Call("GET", "/models", part="models")


def batch_bodies(rows: Iterable[Row]) -> Iterator[bytes]:
    """Cut rows into bodies, of ``MAX_POST_BYTES`` or of one row."""
    body = b""
    for row in rows:
        line = json.dumps(row).encode() + b"\n"
        if body and len(body) + len(line) > MAX_POST_BYTES:
            yield body
            body = b""
        body += line
    if body:
        yield body


def posted(body: bytes) -> dict[str, Any]:
    """Say what httpx is to send of a body of rows."""
    return {"content": body, "headers": NDJSON}


@final
class Lines:
    """Takes the answer to a batch apart, whatever the pieces in which it arrives.

    By newlines alone: to httpx, as to ``str.splitlines``, some letters of titles end a line too.
    """

    def __init__(self) -> None:
        self._rest = b""

    def answers(self, piece: bytes) -> list[RowAnswer]:
        """Give the answers that end in the next piece."""
        *ended, self._rest = (self._rest + piece).split(b"\n")
        return [_row_answer(line) for line in ended]


def _row_answer(line: bytes) -> RowAnswer:
    content: Any = json.loads(line)
    if "status" in content:
        return ServiceError(content)
    answer: Recommendation = content
    return answer


def check(response: httpx.Response) -> None:
    """Make sure that there is an answer.

    Raises:
        ServiceError: There is none: of the service, or of a proxy before it.
    """
    if response.is_success:
        return
    problem: dict[str, Any] = {
        "type": "about:blank",
        "title": response.reason_phrase or "No answer",
        "status": response.status_code,
        "request_id": response.headers.get("x-request-id", ""),
    }
    if response.headers.get("content-type", "").startswith("application/problem+json"):
        problem |= response.json()
    retry_after = response.headers.get("retry-after", "")
    raise ServiceError(problem, int(retry_after) if retry_after.isdigit() else None)


def key_header(api_key: str) -> dict[str, str]:
    """Give the header that shows a key; none without one."""
    return {"authorization": f"Bearer {api_key}"} if api_key else {}


def _quoted(customer_id: str) -> str:
    return quote(customer_id, safe="")


def _parameters(options: Mapping[str, Any]) -> dict[str, Any]:
    """Write options as query parameters: ``categories_any`` is ``categories.any`` of a body."""
    nested = ("categories", "steer")
    flat = {key: value for key, value in options.items() if key not in nested}
    categories = options.get("categories", {})
    flat |= {f"categories_{key}": list(names) for key, names in categories.items()}
    # Six places, never an exponent: as the service reads them.
    moves = [f"{dimension}:{offset:.6f}" for dimension, offset in options.get("steer", {}).items()]
    return {"params": flat | ({"steer": moves} if moves else {})}
