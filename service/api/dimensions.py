"""The route of a model's dimensions: those that are worth a slider, and what they stand for."""

import asyncio
from typing import Annotated, final

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from service.api.answers import Answer, AnsweringModel, Content, json_response
from service.api.explained import named_item
from service.api.openapi import problems
from service.api.security import require_scope
from service.api.state import ready_of
from service.catalog import Catalog
from service.deployment import Served
from service.errors import UnsupportedViewError
from service.latent_dimensions import Side

router = APIRouter(
    dependencies=[Depends(require_scope("recommend"))],
    responses=problems(
        s401="A key is needed: keys are set, and the request has none of them.",
        s404="No such model.",
        s422="A parameter is wrong or unknown, or the model has no posterior.",
        s503="Not ready: come back after Retry-After seconds.",
    ),
)


@final
class DimensionParameters(BaseModel):
    """How many dimensions to show, as query parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    limit: Annotated[int, Field(ge=1, le=100)] = 8
    """Dimensions wanted."""


@final
class NamedItem(Answer):
    """An item that a dimension moves."""

    item_id: str
    """The item."""

    title: str | None = None
    """Left out where the catalogue has none."""


@final
class DimensionSide(Answer):
    """What rises on the way to one side of a dimension."""

    items: list[NamedItem]
    """Of the popular ones, those that rise most."""

    categories: list[str]
    """Those whose popular items rise, at most two; empty where that is no more than chance."""


@final
class DimensionCard(Answer):
    """One dimension of the latent."""

    dimension: int
    """Which one, as ``steer`` names it."""

    effect: float
    """How far it moves popular items apart: the standard deviation of the change of their scores
    from two below to two above."""

    above: DimensionSide
    """What more of it raises."""

    below: DimensionSide
    """What less of it raises."""


@final
class DimensionList(Answer):
    """The dimensions of a model that are worth a slider."""

    dimensions: list[DimensionCard]
    """Those that move the most first; one that moves next to nothing is left out."""

    model: AnsweringModel
    """Whose."""


ModelName = Annotated[str, Path(max_length=128, description="The model, as in /models.")]


@router.get("/models/{name}/dimensions", response_model=DimensionList)
async def dimensions(
    request: Request, name: ModelName, parameters: Annotated[DimensionParameters, Query()]
) -> Response:
    """Tell what moving the dimensions of the latent does to lists: a map for ``steer``.

    The model is asked, by walking along each dimension from popular items, which items and
    categories rise and fall.
    """
    served = ready_of(request).fleet.served(name)
    if not served.has_posterior:
        raise UnsupportedViewError("a list of dimensions", served.name, "a posterior")
    # On a thread: the first one of a model decodes a hundred latents a dimension, 0.6 s.
    return json_response(await asyncio.to_thread(_content, served, parameters.limit))


def _content(served: Served, limit: int) -> Content:
    catalog = served.catalog
    return {
        "dimensions": [
            {
                "dimension": found.dimension,
                "effect": found.effect,
                "above": _side(catalog, found.above),
                "below": _side(catalog, found.below),
            }
            for found in served.dimensions.first(limit)
        ],
        "model": {"name": served.name, "version": served.version},
    }


def _side(catalog: Catalog, side: Side) -> Content:
    return {
        "items": [named_item(catalog, item) for item in side.item_index_K],
        "categories": side.categories,
    }
