"""The routes that recommend: one list, for a posted history or a kept one."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request, Response

from service.api.answers import RecommendAnswer, json_response, list_content
from service.api.disconnect import WhileConnected
from service.api.hot_path import RECOMMEND, answer_list
from service.api.middleware import note_list
from service.api.openapi import RECOMMEND_EXAMPLES, body, problems
from service.api.parameters import UserParameters
from service.api.schemas import RecommendRequest
from service.api.security import require_scope
from service.api.state import ready_of, state_of
from service.api.user_ids import UserIdInPath

router = APIRouter(
    dependencies=[Depends(require_scope("recommend"))],
    responses=problems(s401="A key is needed: keys are set, and the request has none of them."),
)

UNAVAILABLE: Final = "Not ready, or at capacity: come back after Retry-After seconds."
TOO_LATE: Final = "The queue was too long for the deadline."
BODY_PROBLEMS: Final = problems(
    s400="The body is not JSON.",
    s408="The body did not come in time.",
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


@router.get(
    "/users/{user_id:text}/recommendations",  # an id of a customer may have a slash in it
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
    user_id: UserIdInPath,
    parameters: Annotated[UserParameters, Query()],
) -> Response:
    """Recommend items for a user whose history is kept."""
    ready = ready_of(request)
    async with WhileConnected(request.receive):
        recommendation = await ready.recommender.recommend(parameters.query_for(None, user_id))
    note_list(request.scope, recommendation)
    return json_response(list_content(recommendation))
