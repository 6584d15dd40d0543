"""The routes that machines watch: is it alive, is it ready, how is it doing."""

from typing import Final

from fastapi import APIRouter, Request, Response

from service.api.answers import Health, json_response
from service.api.openapi import problems
from service.api.state import state_of

router = APIRouter()

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
SHOWN: Final = 'foldin_requests_total{method="POST",route="/recommend",status="200"} 12.0\n'


@router.head("/livez", include_in_schema=False)
@router.get("/livez", response_model=Health)
async def livez() -> Response:
    """Tell that the process answers, whatever it is doing. If not, restart it."""
    return json_response({"status": "alive"})


@router.head("/readyz", include_in_schema=False)
@router.get(
    "/readyz",
    response_model=Health,
    responses=problems(s503="No model is loaded, proven and warm yet; or the service is to end."),
)
async def readyz(request: Request) -> Response:
    """Tell that a model is loaded, has repeated its trainer's answers and is warm."""
    state_of(request).require_wanting()
    return json_response({"status": "ready"})


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {
            "description": "Prometheus text format.",
            "content": {"text/plain": {"schema": {"type": "string"}, "example": SHOWN}},
        }
    },
)
async def metrics(request: Request) -> Response:
    """Show counters and histograms to Prometheus."""
    return Response(state_of(request).telemetry.exposition(), media_type=METRICS_TYPE)
