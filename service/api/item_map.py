"""The route of the map: where items lie beside one another in the eyes of a model."""

import asyncio
from typing import Annotated, Final, final

import numpy as np
from fastapi import APIRouter, Depends, Query, Request, Response
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from service.api.answers import Answer, AnsweringModel, Content, json_response
from service.api.explained import named_item
from service.api.openapi import problems
from service.api.schemas import ItemId, ModelName
from service.api.security import require_scope
from service.api.state import ready_of
from service.catalog import UNKNOWN_ITEM
from service.deployment import Served
from service.errors import UnsupportedViewError
from service.recommendation import EVERY_CATEGORY

router = APIRouter(
    dependencies=[Depends(require_scope("recommend"))],
    responses=problems(
        s401="A key is needed: keys are set, and the request has none of them.",
        s404="No such model.",
        s422="A parameter is wrong or unknown, or the model has no vectors of items.",
        s503="Not ready: come back after Retry-After seconds.",
    ),
)

# More points than a screen of today tells apart.
MAX_POPULAR: Final = 2_000
MAX_NAMED: Final = 200


@final
class MapParameters(BaseModel):
    """What a map shows, as query parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    limit: Annotated[int, Field(ge=0, le=MAX_POPULAR)] = 500
    """Popular items wanted, the most popular ones; 0: only those that are named."""

    items: Annotated[list[ItemId], Field(max_length=MAX_NAMED, fail_fast=True)] = []
    """Items that are to be on the map, popular or not; repeat it for each."""

    model: ModelName | None = None
    """In whose eyes. Unset: the default model's."""


@final
class MappedItem(Answer):
    """One item on the map."""

    item_id: str
    """The item."""

    title: str | None = None
    """Left out where the catalogue has none."""

    x: float
    """Along the axis that tells most of the items apart, within -2 to 2."""

    y: float
    """Along the next one, likewise."""


@final
class MapAnswer(Answer):
    """Items in two dimensions; what is near is alike, as far as two dimensions can tell."""

    items: list[MappedItem]
    """The popular ones, the most popular first, then those that were named and are not among them;
    each once."""

    shares: Annotated[list[float], Field(min_length=2, max_length=2)]
    """How much of what tells items apart is seen along x and along y, 0 to 1: the shares of the
    variance of the vectors' directions, each item counted by its popularity."""

    unknown_items: list[str]
    """Named ids that the catalogue lacks."""

    model: AnsweringModel
    """In whose eyes."""


@router.get("/items/map", response_model=MapAnswer)
async def item_map(request: Request, parameters: Annotated[MapParameters, Query()]) -> Response:
    """Lay items out on a map: their vectors in the model's decoder, in two dimensions.

    The directions of the vectors are projected onto their two main axes. The same model has the
    same map, whatever is asked. Of the popular items those that are unavailable now are left out.
    """
    recommender = ready_of(request).recommender
    served = recommender.fleet.served(parameters.model)
    if not served.has_item_vectors:
        raise UnsupportedViewError("a map", served.name, "vectors of items")
    shown_I = served.shelf.shown(EVERY_CATEGORY, None, recommender.availability())
    named_N, unknown = served.catalog.indices(parameters.items)
    item_N = _items(served, parameters.limit, shown_I, named_N)
    # On a thread: the first one of a model reads up to 20,000 vectors, a second.
    content = await asyncio.to_thread(_map_content, served, item_N)
    return json_response(content | {"unknown_items": unknown})


def _items(
    served: Served, limit: int, shown_I: NDArray[np.bool_] | None, named_N: NDArray[np.int64]
) -> NDArray[np.int64]:
    popular_N = served.catalog.by_popularity_I
    if shown_I is not None:
        popular_N = popular_N[shown_I[popular_N]]
    known_N = named_N[named_N != UNKNOWN_ITEM].tolist()
    return np.array(list(dict.fromkeys([*popular_N[:limit].tolist(), *known_N])), dtype=np.int64)


def _map_content(served: Served, item_N: NDArray[np.int64]) -> Content:
    places = zip(item_N.tolist(), served.item_map.places(item_N).tolist(), strict=True)
    return {
        "items": [named_item(served.catalog, item) | {"x": x, "y": y} for item, (x, y) in places],
        "shares": served.item_map.share_A,
        "model": {"name": served.name, "version": served.version},
    }
