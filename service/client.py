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

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Any, Self, Unpack, final

import httpx

from service import client_calls as calls
from service.client_calls import AnswerT, Call, RowAnswer
from service.client_messages import (
    CatalogItem,
    Entry,
    KeptUser,
    Options,
    Recommendation,
    Row,
    ServiceError,
    SimilarItems,
    SimilarOptions,
)

__all__ = ["AsyncClient", "Client", "Entry", "Options", "Recommendation", "Row", "ServiceError"]


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
        self._http = httpx.Client(
            base_url=base_url,
            headers=calls.key_header(api_key),
            timeout=timeout_s,
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def recommend(self, **row: Unpack[Row]) -> Recommendation:
        """Recommend items for a history, or for a user whose history is kept."""
        return self._ask(calls.recommend(row))

    def recommend_to_user(self, user_id: str, **options: Unpack[Options]) -> Recommendation:
        """Recommend items for a user whose history is kept."""
        return self._ask(calls.recommend_to_user(user_id, options))

    def batch(self, rows: Iterable[Row]) -> list[RowAnswer]:
        """Answer many requests, in their order."""
        return list(self.stream(rows))

    def stream(self, rows: Iterable[Row]) -> Iterator[RowAnswer]:
        """Answer any number of requests, in their order; few of them are held at once."""
        for body in calls.batch_bodies(rows):
            with self._http.stream("POST", calls.BATCH, **calls.posted(body)) as response:
                if not response.is_success:
                    response.read()
                calls.check(response)
                lines = calls.Lines()
                for piece in response.iter_bytes():
                    yield from lines.answers(piece)

    def add_interactions(self, user_id: str, events: Sequence[str | Entry]) -> KeptUser:
        """Add events to the history of a user, the oldest first."""
        return self._ask(calls.add_interactions(user_id, events))

    def forget_user(self, user_id: str) -> None:
        """Forget a user."""
        self._ask(calls.forget_user(user_id))

    def similar(self, item_id: str, **options: Unpack[SimilarOptions]) -> SimilarItems:
        """Find what is like an item."""
        return self._ask(calls.similar(item_id, options))

    def items(self, query: str = "", limit: int = 20) -> list[CatalogItem]:
        """Find items by words of their titles, the most popular first."""
        return self._ask(calls.items(query, limit))

    def models(self) -> list[dict[str, Any]]:
        """List what is served."""
        return self._ask(calls.models())

    def _ask(self, call: Call[AnswerT]) -> AnswerT:
        return call.answer(self._http.request(call.method, call.path, **call.sent))


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
        headers = calls.key_header(api_key)
        self._http = httpx.AsyncClient(
            base_url=base_url, headers=headers, timeout=timeout_s, transport=transport
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def recommend(self, **row: Unpack[Row]) -> Recommendation:
        """Recommend items for a history, or for a user whose history is kept."""
        return await self._ask(calls.recommend(row))

    async def recommend_to_user(self, user_id: str, **options: Unpack[Options]) -> Recommendation:
        """Recommend items for a user whose history is kept."""
        return await self._ask(calls.recommend_to_user(user_id, options))

    async def batch(self, rows: Iterable[Row]) -> list[RowAnswer]:
        """Answer many requests, in their order."""
        return [answer async for answer in self.stream(rows)]

    async def stream(self, rows: Iterable[Row]) -> AsyncIterator[RowAnswer]:
        """Answer any number of requests, in their order; few of them are held at once."""
        for body in calls.batch_bodies(rows):
            async with self._http.stream("POST", calls.BATCH, **calls.posted(body)) as response:
                if not response.is_success:
                    await response.aread()
                calls.check(response)
                lines = calls.Lines()
                async for piece in response.aiter_bytes():
                    for answer in lines.answers(piece):
                        yield answer

    async def add_interactions(self, user_id: str, events: Sequence[str | Entry]) -> KeptUser:
        """Add events to the history of a user, the oldest first."""
        return await self._ask(calls.add_interactions(user_id, events))

    async def forget_user(self, user_id: str) -> None:
        """Forget a user."""
        await self._ask(calls.forget_user(user_id))

    async def similar(self, item_id: str, **options: Unpack[SimilarOptions]) -> SimilarItems:
        """Find what is like an item."""
        return await self._ask(calls.similar(item_id, options))

    async def items(self, query: str = "", limit: int = 20) -> list[CatalogItem]:
        """Find items by words of their titles, the most popular first."""
        return await self._ask(calls.items(query, limit))

    async def models(self) -> list[dict[str, Any]]:
        """List what is served."""
        return await self._ask(calls.models())

    async def _ask(self, call: Call[AnswerT]) -> AnswerT:
        return call.answer(await self._http.request(call.method, call.path, **call.sent))
