"""The routes that add to what is kept of a user, and that forget a user."""

from typing import Final

from fastapi import APIRouter, Depends, Request, Response

from service.api.answers import json_response
from service.api.bodies import read_json
from service.api.openapi import body, problems
from service.api.security import require_scope
from service.api.state import ready_of, state_of
from service.api.user_ids import UserIdInPath
from service.api.user_schemas import EVENTS_EXAMPLES, EventsRequest, KeptUserAnswer
from service.api.validation import from_json
from service.users import Users

router = APIRouter(
    dependencies=[Depends(require_scope("recommend"))],
    responses=problems(s401="A key is needed: keys are set, and the request has none of them."),
)

UNAVAILABLE: Final = (
    "Not ready, at capacity, or the store is out: come back after Retry-After seconds."
)


@router.post(
    "/users/{user_id:text}/interactions",  # an id of a customer may have a slash in it
    response_model=KeptUserAnswer,
    openapi_extra=body(EventsRequest, EVENTS_EXAMPLES),
    responses=problems(
        s400="The body is not JSON.",
        s404="No such model.",
        s408="The body did not come in time.",
        s413="The body is too large.",
        s415="The body is not declared as JSON.",
        s422="A field is wrong, missing, unknown or asks for too much.",
        s503=UNAVAILABLE,
    ),
)
async def add_interactions(request: Request, user_id: UserIdInPath) -> Response:
    """Add events to a user's kept history, of which the newest entries stay, and encode it.

    They add to what was posted as a history for this user before; a history that is posted after
    them takes their place. An event with an event_id counts once however often it is sent.
    """
    users = Users(ready_of(request).recommender)
    content = await read_json(
        request.scope, request.receive, state_of(request).limits.max_body_bytes
    )
    asked = from_json(EventsRequest, content)
    # To its end, though the caller may leave: half of it would be done.
    kept = await users.append(
        user_id, asked.to_events(), strict=asked.on_unknown == "error", model=asked.model
    )
    return json_response(
        {
            "count": kept.num_entries,
            "unknown_items": kept.unknown_items,
            "cache": kept.cache,
            "model": {"name": kept.model_name, "version": kept.model_version},
        }
    )


@router.delete(
    "/users/{user_id:text}",
    status_code=204,
    responses=problems(
        s422="The id is empty, too long, or has a control character in it.",
        s503=UNAVAILABLE,
    ),
)
async def forget_user(request: Request, user_id: UserIdInPath) -> Response:
    """Forget a user: the history and all that models made of it. Nothing kept is no error."""
    await Users(ready_of(request).recommender).forget(user_id)
    return Response(status_code=204)
