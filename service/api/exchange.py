"""The routes that exchange a model that answers; for admins."""

from typing import Annotated, Final, Literal, final

from fastapi import APIRouter, Depends, Path, Request, Response

from service.api.answers import Answer, AnsweringModel, json_response
from service.api.openapi import problems
from service.api.security import require_scope
from service.api.state import ready_of
from service.deployment import Deployment

router = APIRouter(
    dependencies=[Depends(require_scope("admin"))],
    responses=problems(
        s401="A key is needed, and the request has none that is known.",
        s403="The key is not an admin's, or no admin key is set.",
    ),
)

ModelName = Annotated[str, Path(max_length=256, description="The model, as in /models.")]
OF_BOTH: Final = problems(
    s404="No such model.", s422="The name is too long.", s503="No model is loaded yet."
)


@final
class ExchangeAnswer(Answer):
    """Who answers after a reload or a rollback."""

    outcome: Literal["swapped", "unchanged", "rolled_back"]
    """What was done; unchanged: that bundle answered already."""

    model: AnsweringModel
    """Who answers from now on."""

    previous_version: str | None
    """Of the bundle that a rollback brings back; null: there is none."""


@router.post(
    "/models/{name}/reload",
    response_model=ExchangeAnswer,
    responses=OF_BOTH | problems(s409="The bundle is refused; the model before answers on."),
)
async def reload(request: Request, name: ModelName) -> Response:
    """Let the bundle that CURRENT names take over, once it is loaded, proven and warm.

    Of several workers this one has it when the answer comes; the others follow, and ``/models``
    shows how far they are.
    """
    reloader = ready_of(request).reloader(name)
    return _answer(reloader.deployment, await reloader.reload())


@router.post(
    "/models/{name}/rollback",
    response_model=ExchangeAnswer,
    responses=OF_BOTH | problems(s409="There is no model before this one."),
)
async def rollback(request: Request, name: ModelName) -> Response:
    """Let the model that answered before take over at once; CURRENT stays as it is."""
    reloader = ready_of(request).reloader(name)
    return _answer(reloader.deployment, await reloader.rollback())


def _answer(deployment: Deployment, outcome: str) -> Response:
    current, previous = deployment.current, deployment.previous
    return json_response(
        {
            "outcome": outcome,
            "model": {"name": current.name, "version": current.version},
            "previous_version": previous and previous.version,
        }
    )
