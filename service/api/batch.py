"""POST /recommend/batch: many lists, as one JSON document or as a stream of lines."""

import asyncio
import logging
from typing import Any, Final

from fastapi import APIRouter, Depends, Request, Response

from service.api.answers import BatchAnswer, Content, json_bytes, json_response, list_content
from service.api.bodies import read_json
from service.api.decoding import query_from_json
from service.api.disconnect import WhileConnected
from service.api.lines import NDJSON, is_ndjson
from service.api.middleware import note_row
from service.api.openapi import BATCH_EXAMPLES, body, problems
from service.api.problems import BatchTooLongError, BodyTooLargeError, problem_body
from service.api.row_stream import RowStream, StreamLimits, Write
from service.api.schemas import BatchRequest, RecommendRequest
from service.api.security import require_scope
from service.api.state import ready_of, state_of
from service.api.validation import from_json, from_value
from service.errors import FoldinError, OverloadedError
from service.recommendation import Query, Recommendation

logger = logging.getLogger(__name__)
router = APIRouter(dependencies=[Depends(require_scope("recommend"))])

# A stream has time: a row that finds the queue full comes again after each of these.
PAUSES_S: Final = (0.25, 0.5, 1.0, 2.0)

LINES: Final = {
    "schema": {
        "type": "string",
        "description": "One request a line, as for POST /recommend; any number of lines.",
    },
    "example": '{"history": ["1", "260"], "k": 5}\n{"user_id": "u-17"}\n',
}
ANSWER_LINES: Final = {
    "schema": {
        "type": "string",
        "description": "One answer or problem a line, in the order of the rows.",
    }
}
STREAMED: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "An answer or a problem a row.", "content": {NDJSON: ANSWER_LINES}}
}


def _document() -> dict[str, Any]:
    """Describe the bodies that the route reads for itself."""
    document = body(BatchRequest, BATCH_EXAMPLES)
    document["requestBody"]["content"][NDJSON] = LINES
    return document


@router.post(
    "/recommend/batch",
    response_model=BatchAnswer,
    openapi_extra=_document(),
    responses=STREAMED
    | problems(
        s400="The body is not JSON.",
        s401="A key is needed: keys are set, and the request has none of them.",
        s408="The body did not come in time.",
        s413="The body is too large.",
        s415="The body is declared neither as JSON nor as NDJSON.",
        s422="The body is not a list of rows, or has too many.",
        s503="Not ready: come back after Retry-After seconds.",
    ),
)
async def recommend_batch(request: Request) -> Response:
    """Answer many requests in their order; a row that cannot be answered gets a problem.

    As application/json, one document in and one out. As application/x-ndjson, one request a line
    and one answer a line, as they come: the number of rows and the size of the body are not
    limited, the size of a line is. Read the answers while you send: who sends everything first
    will be made to wait for good once the connection is full. Blank lines are passed over, and
    the pointers of a problem begin at the row. Where the service ends before the body, the last
    line is the problem draining: that row and all after it are to be sent again.

    Rows give way to single requests. They cast no shadows, and their recommendation ids are in the
    log at level debug only, a line each: a caller who joins outcomes to them keeps the answers.
    """
    ready_of(request)
    limits, stream_end = state_of(request).limits, state_of(request).stream_end
    if is_ndjson(request.scope):
        stream_end.require_not_come()
        held = StreamLimits(limits.rows_in_flight, limits.max_body_bytes)
        return RowStream(lambda line: _answer_line(request, line), held, stream_end)
    content = await read_json(request.scope, request.receive, limits.max_body_bytes)
    rows = from_json(BatchRequest, content).requests
    if len(rows) > limits.max_batch_requests:
        raise BatchTooLongError(f"{len(rows)} rows; at most {limits.max_batch_requests} are taken")
    async with WhileConnected(request.receive):
        results = await _answer_rows(request, rows)
    return json_response({"results": results})


async def _answer_line(request: Request, line: bytes | None) -> Write:
    limits = state_of(request).limits
    if line is None:
        too_long = BodyTooLargeError(f"a row may have {limits.max_body_bytes} bytes")
        return _written(_problem(request, too_long))
    try:
        state_of(request).stream_end.require_not_come()
        query = query_from_json(line, limits.max_history)
        recommendation = await _patiently(request, query)
    except Exception as error:  # noqa: BLE001 - it goes to the caller, as the row's answer
        return _written(_problem(request, error))
    note_row(request.scope, recommendation)
    return lambda: json_bytes(list_content(recommendation))


def _written(content: Content) -> Write:
    return lambda: json_bytes(content)


async def _patiently(request: Request, query: Query) -> Recommendation:
    for pause_s in PAUSES_S:
        try:
            return await ready_of(request).recommender.recommend(query, bulk=True)
        except OverloadedError:
            await asyncio.sleep(pause_s)
    return await ready_of(request).recommender.recommend(query, bulk=True)


async def _answer_rows(request: Request, rows: list[Any]) -> list[Content]:
    """Answer rows a few at a time: enough to fill the engine, too few to fill its queue."""
    results: list[Content] = [{} for _ in rows]
    waiting = iter(enumerate(rows))

    async def answer_in_turn() -> None:
        for position, row in waiting:
            results[position] = await _answer_row(request, position, row)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(len(rows), state_of(request).limits.rows_in_flight)):
            group.create_task(answer_in_turn())
    return results


async def _answer_row(request: Request, position: int, row: object) -> Content:
    recommender = ready_of(request).recommender
    try:
        query = from_value(RecommendRequest, row).to_query(state_of(request).limits.max_history)
        recommendation = await recommender.recommend(query, bulk=True)
        note_row(request.scope, recommendation)
        return list_content(recommendation)
    except Exception as error:  # noqa: BLE001 - it goes to the caller, as the row's answer
        return _problem(request, error, f"/requests/{position}")


def _problem(request: Request, error: Exception, row: str = "") -> Content:
    request_id = request.state.request_id
    if not isinstance(error, FoldinError):
        fields = {"request_id": request_id}
        logger.error("a row failed", exc_info=error, extra={"fields": fields})
    return problem_body(error, request_id, row)
