"""The requests of the client, and how their answers are read: the same for both of its kinds."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeAlias, TypeVar, Unpack, final
from urllib.parse import quote

import httpx

from service.client_messages import (
    CatalogItem,
    Dimension,
    Event,
    EventOptions,
    Exchange,
    ItemMap,
    ItemOptions,
    KeptUser,
    MapOptions,
    ModelCard,
    Options,
    Recommendation,
    Row,
    ServiceError,
    SimilarItems,
    SimilarOptions,
)

# The service takes this much in before any of it is answered. httpx sends all of a body before
# it reads: with more, each would wait for the other to read.
MAX_POST_BYTES: Final = 64 * 1024
BATCH: Final[dict[str, Any]] = {
    "url": "/recommend/batch",
    "headers": {"content-type": "application/x-ndjson"},
}

AnswerT = TypeVar("AnswerT")
RowAnswer: TypeAlias = Recommendation | ServiceError


@final
@dataclass(frozen=True, slots=True)
class Call(Generic[AnswerT]):
    """One request: what httpx is to send, and the part of the answer that is wanted, or all."""

    method: str
    path: str
    sent: dict[str, Any] = field(default_factory=dict)
    part: str = ""

    def answer(self, response: httpx.Response) -> AnswerT:
        """Read the answer, or raise the ``ServiceError`` that stands in its place."""
        check(response)
        content: Any = response.json() if response.content else None
        wanted: AnswerT = content[self.part] if self.part else content
        return wanted


class Questions:
    """What can be asked: the request of each method that both clients have."""

    def recommend(self, **row: Unpack[Row]) -> Call[Recommendation]:
        """Recommend items for a history, or for a user whose history is kept."""
        return Call("POST", "/recommend", {"json": row})

    def recommend_to_user(self, user_id: str, **options: Unpack[Options]) -> Call[Recommendation]:
        """Recommend items for a user whose history is kept."""
        return Call("POST", "/recommend", {"json": {**options, "user_id": user_id}})

    def add_interactions(
        self, user_id: str, events: Sequence[str | Event], **options: Unpack[EventOptions]
    ) -> Call[KeptUser]:
        """Add events to the history of a user, the oldest first."""
        path = f"/users/{_quoted(user_id)}/interactions"
        return Call("POST", path, {"json": {**options, "events": list(events)}})

    def forget_user(self, user_id: str) -> Call[None]:
        """Forget a user."""
        return Call("DELETE", f"/users/{_quoted(user_id)}")

    def similar(self, item_id: str, **options: Unpack[SimilarOptions]) -> Call[SimilarItems]:
        """Find what is like an item."""
        chosen: dict[str, Any] = dict(options)
        categories = chosen.pop("categories", {})
        chosen |= {f"categories_{key}": list(names) for key, names in categories.items()}
        return Call("GET", f"/items/{_quoted(item_id)}/similar", {"params": chosen})

    def items(self, query: str = "", **options: Unpack[ItemOptions]) -> Call[list[CatalogItem]]:
        """Find items by words of their titles, the most popular first."""
        return Call("GET", "/items", {"params": {**options, "query": query}}, part="items")

    def item_map(self, **options: Unpack[MapOptions]) -> Call[ItemMap]:
        """Lay items out in two dimensions, the popular ones and those that are named."""
        return Call("GET", "/items/map", {"params": options})

    def models(self) -> Call[list[ModelCard]]:
        """List what is served, the default model first."""
        return Call("GET", "/models", part="models")

    def dimensions(self, model: str, limit: int = 8) -> Call[list[Dimension]]:
        """Tell what the dimensions of a variational model stand for."""
        path = f"/models/{_quoted(model)}/dimensions"
        return Call("GET", path, {"params": {"limit": limit}}, part="dimensions")

    def reload(self, model: str) -> Call[Exchange]:
        """Let the bundle that CURRENT names take over; for admins."""
        return Call("POST", f"/models/{_quoted(model)}/reload")

    def rollback(self, model: str) -> Call[Exchange]:
        """Let the bundle that answered before take over; for admins."""
        return Call("POST", f"/models/{_quoted(model)}/rollback")


QUESTIONS: Final = Questions()


def bodies_of(rows: Iterable[Row]) -> Iterator[bytes]:
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


@final
class Lines:
    """Takes the answer to a batch apart, whatever the pieces in which it arrives.

    By newlines alone: to httpx, as to ``str.splitlines``, some letters of titles end a line too.
    """

    def __init__(self) -> None:
        self._rest = b""

    def answers(self, piece: bytes) -> Iterator[RowAnswer]:
        """Give the answers that end in the next piece."""
        *ended, self._rest = (self._rest + piece).split(b"\n")
        for content in map(json.loads, ended):
            yield ServiceError(content) if "status" in content else content


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
    # The dots too: httpx, and a proxy, take ".." for the way up.
    return quote(customer_id, safe="").replace(".", "%2E")
