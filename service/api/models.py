"""The route of models: which there are, how good they were, and what part each has."""

from datetime import datetime
from typing import Any, final

from fastapi import APIRouter, Depends, Request, Response

from service.api.answers import Answer, Content, json_response
from service.api.openapi import problems
from service.api.security import require_scope
from service.api.state import Ready, ready_of
from service.reloader import Reloader
from service.supported_controls import supported

router = APIRouter(
    dependencies=[Depends(require_scope("recommend"))],
    responses=problems(
        s401="A key is needed: keys are set, and the request has none of them.",
        s503="Not ready: come back after Retry-After seconds.",
    ),
)


@final
class ModelCard(Answer):
    """One model that is served."""

    name: str
    """As requests name it."""

    version: str
    """Of its bundle."""

    digest: str
    """sha256 of the bundle's manifest: the identity of all of it."""

    architecture: str
    """What kind of autoencoder it is."""

    retrieval: str
    """How its items are found."""

    retrieval_recall: float
    """Share of exact lists that this way finds, measured when it was loaded; 1: it is exact."""

    num_items: int
    """Items of its catalogue."""

    positive_threshold: float | None
    """Ratings below it are seen but not liked; null: every entry is liked."""

    metrics: dict[str, Any]
    """Figures of this very bundle on held-out users."""

    created_at: datetime
    """When it was trained."""

    controls: list[str]
    """Which of a list's controls it has something for: of popularity_penalty, explain, diversity,
    dislikes, exploration, steer and calibration."""

    split_share: float | None
    """Share of users whom the running split gives to it, 0 to 1; null: no split is running."""

    is_shadow: bool
    """Whether its lists are made behind those of other models, and compared."""

    previous_version: str | None
    """Of the bundle that a rollback brings back; null: there is none."""

    workers: dict[str, int]
    """Worker processes by the version that they answer with: one version, but for the moment in
    which a model is exchanged."""


@final
class ModelList(Answer):
    """What is served."""

    models: list[ModelCard]
    """The default one first."""


@router.get("/models", response_model=ModelList)
async def models(request: Request) -> Response:
    """List what is served, with the figures of each model on held-out users."""
    ready = ready_of(request)
    return json_response({"models": [_card(ready, reloader) for reloader in ready.reloaders]})


def _card(ready: Ready, reloader: Reloader) -> Content:
    served, previous = reloader.deployment.current, reloader.deployment.previous
    manifest, split = served.checkpoint.manifest, ready.fleet.split
    return {
        "name": served.name,
        "version": served.version,
        "digest": served.digest,
        "architecture": manifest.architecture,
        "retrieval": served.retriever_name,
        "retrieval_recall": served.recall,
        "num_items": manifest.num_items,
        "positive_threshold": manifest.positive_threshold,
        "metrics": manifest.metrics,
        "created_at": manifest.created_at,
        "controls": supported(served),
        "split_share": split and split.share(served.name),
        "is_shadow": served.name in ready.shadows,
        "previous_version": previous and previous.version,
        "workers": reloader.workers(),
    }
