"""The routes that recommend, and those that say what can be recommended."""

import asyncio
import logging
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from service.api.answers import (
    BatchAnswer,
    Content,
    ItemList,
    ModelList,
    RecommendAnswer,
    item_content,
    json_response,
    list_content,
    model_content,
)
from service.api.bodies import read_json
from service.api.disconnect import WhileConnected
from service.api.hot_path import RECOMMEND, answer_list
from service.api.openapi import BATCH_EXAMPLES, RECOMMEND_EXAMPLES, body, problems
from service.api.problems import BatchTooLongError, problem_body
from service.api.schemas import BatchRequest, ItemParameters, RecommendRequest, UserParameters
from service.api.security import require_scope
from service.api.state import ready_of, state_of
from service.api.validation import from_json, from_value
from service.errors import FoldinError

logger = logging.getLogger(__name__)
router = APIRouter(
    dependencies=[Depends(require_scope("recommend"))],
    responses=problems(s401="A key is needed: keys are set, and the request has none of them."),
)

UNAVAILABLE: Final = "Not ready, or at capacity: come back after Retry-After seconds."
TOO_LATE: Final = "The queue was too long for the deadline."
BODY_PROBLEMS: Final = problems(
    s400="The body is not JSON.",
    s413="The body is too large.",
    s415="The body is not declared as JSON.",
    s422="A field is wrong, missing, unknown or asks for too much.",
    s503=UNAVAILABLE,
)


@router.post(
    RECOMMEND,
    response_model=RecommendAnswer,
    openapi_extra=body(RecommendRequest, RECOMMEND_EXAMPLES),
    responses=BODY_PROBLEMS | problems(s404="No such model, or no such user.", s504=TOO_LATE),
)
async def recommend(request: Request) -> Response:
    """Recommend items for a posted history, or for a user whose history is kept."""
    content = await answer_list(state_of(request), request.scope, request.receive)
    return json_response(content)


@router.post(
    "/recommend/batch",
    response_model=BatchAnswer,
    openapi_extra=body(BatchRequest, BATCH_EXAMPLES),
    responses=BODY_PROBLEMS,
)
async def recommend_batch(request: Request) -> Response:
    """Answer many requests at once, in order; a row that cannot be answered gets a problem.

    Rows give way to single requests.
    """
    ready_of(request)
    limits = state_of(request).limits
    content = await read_json(request.scope, request.receive, limits.max_body_bytes)
    rows = from_json(BatchRequest, content).requests
    if len(rows) > limits.max_batch_requests:
        raise BatchTooLongError(f"{len(rows)} rows; at most {limits.max_batch_requests} are taken")
    async with WhileConnected(request.receive):
        results = await _answer_rows(request, rows)
    return json_response({"results": results})


@router.get(
    "/users/{user_id:path}/recommendations",  # an id of a customer may have a slash in it
    response_model=RecommendAnswer,
    responses=problems(
        s404="No such model, or no such user.",
        s422="A parameter is wrong or unknown, or asks for too much.",
        s503=UNAVAILABLE,
        s504=TOO_LATE,
    ),
)
async def recommend_to_user(
    request: Request,
    user_id: Annotated[
        str, Path(min_length=1, max_length=256, description="The user, as in posted requests.")
    ],
    parameters: Annotated[UserParameters, Query()],
) -> Response:
    """Recommend items for a user whose history is kept."""
    ready = ready_of(request)
    async with WhileConnected(request.receive):
        recommendation = await ready.recommender.recommend(parameters.query_for(None, user_id))
    return json_response(list_content(recommendation))


@router.get("/models", response_model=ModelList, responses=problems(s503=UNAVAILABLE))
async def models(request: Request) -> Response:
    """List what is served, with the figures of each model on held-out users."""
    ready = ready_of(request)
    card = model_content(
        ready.deployment.current, ready.deployment.previous, ready.reloader.workers()
    )
    return json_response({"models": [card]})


@router.get(
    "/items",
    response_model=ItemList,
    responses=problems(
        s404="No such model.", s422="A parameter is wrong or unknown.", s503=UNAVAILABLE
    ),
)
async def items(
    request: Request,
    parameters: Annotated[ItemParameters, Query()],
) -> Response:
    """Find items whose title holds every word of the query; without one, the most popular."""
    catalog = ready_of(request).deployment.served(parameters.model).catalog
    # On a thread: a search without a hit reads every title, 30 ms at 200,000 items.
    found = await asyncio.to_thread(catalog.search, parameters.query, parameters.limit)
    return json_response({"items": [item_content(catalog, index) for index in found]})


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
        return list_content(await recommender.recommend(query, bulk=True))
    except FoldinError as error:
        return problem_body(error, request.state.request_id, f"/requests/{position}")
    except Exception as error:
        logger.exception("a row failed", extra={"fields": {"request_id": request.state.request_id}})
        return problem_body(error, request.state.request_id, f"/requests/{position}")
