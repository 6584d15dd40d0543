"""A client of the service, blocking or async; needs httpx, and nothing else of the service.

>>> from service.client import Client, ServiceError
>>> with Client("http://127.0.0.1:8000", timeout_s=10) as client:
...     liked = client.recommend(history=["1", "260"], user_id="u-17", k=3)
...     kept = client.add_interactions("u-17", ["1196", {"item_id": "1210", "rating": 4.5}])
...     later = client.recommend_to_user("u-17", k=2, categories={"none": ["Horror"]})
...     near = client.similar("260", k=2)
...     rows = [{"history": ["1"], "k": 1}, {"history": ["1"], "k": 0}]
...     answers = list(client.stream(rows))
...     client.forget_user("u-17")
>>> kept["count"], [len(answer["items"]) for answer in (liked, later, near)]
(4, [3, 2, 2])
>>> [answer.detail if isinstance(answer, ServiceError) else answer["source"] for answer in answers]
['model', '/k: Input should be greater than or equal to 1']

``AsyncClient`` has the same methods, to be awaited.
"""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from functools import wraps
from typing import Concatenate, ParamSpec, Self, final

import httpx

from service.client_calls import (
    BATCH,
    QUESTIONS,
    AnswerT,
    Call,
    Lines,
    Questions,
    RowAnswer,
    bodies_of,
    check,
    key_header,
)
from service.client_messages import Entry, Event, Options, Recommendation, Row, ServiceError

__all__ = [
    "AsyncClient", "Client", "Entry", "Event", "Options", "Recommendation", "Row", "ServiceError",
]  # fmt: skip

Parameters = ParamSpec("Parameters")


def _blocking(
    question: Callable[Concatenate[Questions, Parameters], Call[AnswerT]],
) -> Callable[Concatenate["Client", Parameters], AnswerT]:
    @wraps(question)
    def ask(self: "Client", /, *args: Parameters.args, **named: Parameters.kwargs) -> AnswerT:
        call = question(QUESTIONS, *args, **named)
        return call.answer(self._http.request(call.method, call.path, **call.sent))

    return ask


def _awaited(
    question: Callable[Concatenate[Questions, Parameters], Call[AnswerT]],
) -> Callable[Concatenate["AsyncClient", Parameters], Coroutine[None, None, AnswerT]]:
    @wraps(question)
    async def ask(
        self: "AsyncClient", /, *args: Parameters.args, **named: Parameters.kwargs
    ) -> AnswerT:
        call = question(QUESTIONS, *args, **named)
        return call.answer(await self._http.request(call.method, call.path, **call.sent))

    return ask


@final
class Client:
    """Talks to a service and waits for its answers; threads may share it.

    Nothing is tried twice. What the service refuses, or cannot do, raises ``ServiceError``; of a
    row of a batch it stands in the place of the list. ``httpx.TransportError`` is raised where the
    service cannot be reached, takes too long, or breaks off.

    Args:
        base_url: Where the service is.
        api_key: What opens it, where it wants a key.
        timeout_s: Without a byte sent or received. Rows of a batch give way to other requests.
        transport: In place of the network.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str = "",
        timeout_s: float = 10.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        headers = key_header(api_key)
        self._http = httpx.Client(
            base_url=base_url, headers=headers, timeout=timeout_s, transport=transport
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    recommend = _blocking(Questions.recommend)
    recommend_to_user = _blocking(Questions.recommend_to_user)
    add_interactions = _blocking(Questions.add_interactions)
    forget_user = _blocking(Questions.forget_user)
    similar = _blocking(Questions.similar)
    items = _blocking(Questions.items)
    item_map = _blocking(Questions.item_map)
    models = _blocking(Questions.models)
    dimensions = _blocking(Questions.dimensions)
    reload = _blocking(Questions.reload)
    rollback = _blocking(Questions.rollback)

    def batch(self, rows: Iterable[Row]) -> list[RowAnswer]:
        """Answer many requests, in their order."""
        return list(self.stream(rows))

    def stream(self, rows: Iterable[Row]) -> Iterator[RowAnswer]:
        """Answer any number of requests, in their order; few of them are held at once."""
        for body in bodies_of(rows):
            with self._http.stream("POST", **BATCH, content=body) as response:
                if not response.is_success:
                    response.read()
                check(response)
                lines = Lines()
                for piece in response.iter_bytes():
                    yield from lines.answers(piece)


@final
class AsyncClient:
    """What ``Client`` is, to be awaited; lives on one event loop."""

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str = "",
        timeout_s: float = 10.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        headers = key_header(api_key)
        self._http = httpx.AsyncClient(
            base_url=base_url, headers=headers, timeout=timeout_s, transport=transport
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    recommend = _awaited(Questions.recommend)
    recommend_to_user = _awaited(Questions.recommend_to_user)
    add_interactions = _awaited(Questions.add_interactions)
    forget_user = _awaited(Questions.forget_user)
    similar = _awaited(Questions.similar)
    items = _awaited(Questions.items)
    item_map = _awaited(Questions.item_map)
    models = _awaited(Questions.models)
    dimensions = _awaited(Questions.dimensions)
    reload = _awaited(Questions.reload)
    rollback = _awaited(Questions.rollback)

    async def batch(self, rows: Iterable[Row]) -> list[RowAnswer]:
        """Answer many requests, in their order."""
        return [answer async for answer in self.stream(rows)]

    async def stream(self, rows: Iterable[Row]) -> AsyncIterator[RowAnswer]:
        """Answer any number of requests, in their order; few of them are held at once."""
        for body in bodies_of(rows):
            async with self._http.stream("POST", **BATCH, content=body) as response:
                if not response.is_success:
                    await response.aread()
                check(response)
                lines = Lines()
                async for piece in response.aiter_bytes():
                    for answer in lines.answers(piece):
                        yield answer
