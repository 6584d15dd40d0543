"""The way of a single list from bytes to bytes, past the router: POST /recommend."""

from typing import Final, final

from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.answers import JSON, Content, json_bytes, list_content
from service.api.bodies import read_json
from service.api.decoding import query_from_json
from service.api.disconnect import WhileConnected
from service.api.middleware import note_list
from service.api.problems import known_problem
from service.api.state import ServiceState
from service.errors import FoldinError

RECOMMEND: Final = "/recommend"
CONTENT_TYPE: Final = (b"content-type", JSON.encode())


async def answer_list(state: ServiceState, scope: Scope, receive: Receive) -> Content:
    """Read a request for one list and answer it; what the route of the same path does, too.

    Whether it may ask, and whether there is room for it, is settled before its body is read.

    Raises:
        FoldinError: There is no list; what is in the table of problems is the caller's to know.
        starlette.requests.ClientDisconnect: The caller left.
    """
    state.keys.require(scope, "recommend")
    ready = state.require_ready()
    ready.recommender.batcher.require_room()
    body = await read_json(scope, receive, state.limits.max_body_bytes)
    query = query_from_json(body, state.limits.max_history)
    async with WhileConnected(receive):
        recommendation = await ready.recommender.recommend(query)
    note_list(scope, recommendation)
    return list_content(recommendation)


@final
class HotPath:
    """ASGI middleware: answers POST /recommend itself, and hands everything else on.

    The route that documents the path calls ``answer_list`` too, and is reached where a proxy's
    prefix stands before the path; router, dependencies and response then add 70 us to a request.

    Args:
        app: What answers everything else.
        state: What the routes share.
    """

    # For the log and the metrics, as the router would have found it.
    path_format = RECOMMEND

    def __init__(self, app: ASGIApp, state: ServiceState) -> None:
        self._app = app
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; scopes of other types pass through."""
        if scope["type"] != "http" or scope["path"] != RECOMMEND or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        scope["route"] = self
        try:
            content = await answer_list(self._state, scope, receive)
        except FoldinError as error:
            problem = known_problem(error, scope["state"]["request_id"])
            await problem(scope, receive, send)
            return
        body = json_bytes(content)
        length = (b"content-length", str(len(body)).encode())
        start = {"type": "http.response.start", "status": 200, "headers": [length, CONTENT_TYPE]}
        await send(start)
        await send({"type": "http.response.body", "body": body})
