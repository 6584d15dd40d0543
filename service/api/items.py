"""The routes of items: what there is, and what is like it."""

import asyncio
from typing import Annotated, Final, final

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import Field

from service.api.answers import (
    Answer,
    AnsweringModel,
    Content,
    ItemList,
    item_content,
    json_response,
)
from service.api.explained import named_item
from service.api.openapi import problems
from service.api.parameters import CategoryParameters, ItemParameters
from service.api.schemas import ModelName
from service.api.security import require_scope
from service.api.state import ready_of
from service.deployment import Served
from service.errors import TooManyResultsError, UnknownItemError
from service.evidence import NO_ITEMS
from service.retrieval.base import TopK, Wanted
from service.retrieval.similar import Measure

router = APIRouter(
    dependencies=[Depends(require_scope("recommend"))],
    responses=problems(
        s401="A key is needed: keys are set, and the request has none of them.",
        s422="A parameter is wrong or unknown, or asks for too much.",
        s503="Not ready: come back after Retry-After seconds.",
    ),
)


@final
class SimilarParameters(CategoryParameters):
    """How a list of similar items should be, as query parameters."""

    k: Annotated[int, Field(ge=1)] = 20
    """Items wanted; fewer come when the catalogue has no more to show."""

    model: ModelName | None = None
    """In whose eyes. Unset: the default model's."""


@final
class SimilarItem(Answer):
    """One item that is like another."""

    item_id: str
    """The item."""

    score: float
    """How much it is like the other, by the answer's measure; larger is more."""

    title: str | None = None
    """Left out where the catalogue has none."""


@final
class SimilarAnswer(Answer):
    """What is like an item."""

    items: list[SimilarItem]
    """The most similar first; without the item itself."""

    measure: Measure
    """cosine: of two rows of the decoder's item matrix, -1 to 1. weight: of models that have
    item-item weights in its place (ease, edlae), the mean of the two between a pair of items;
    items without one above 0 are left out."""

    model: AnsweringModel
    """In whose eyes."""


ItemId = Annotated[
    str, Path(min_length=1, max_length=1024, description="The item, as in posted histories.")
]
NO_MODEL: Final = problems(s404="No such model.")
NO_ITEM: Final = problems(s404="No such item, or no such model.")


@router.get("/items", response_model=ItemList, responses=NO_MODEL)
async def items(request: Request, parameters: Annotated[ItemParameters, Query()]) -> Response:
    """Find items whose title holds every word of the query; without one, the most popular."""
    catalog = ready_of(request).fleet.served(parameters.model).catalog
    # On a thread: a search without a hit reads every title, 30 ms at 200,000 items.
    found = await asyncio.to_thread(catalog.search, parameters.query, parameters.limit)
    return json_response({"items": [item_content(catalog, index) for index in found]})


@router.get(
    "/items/{item_id:path}/similar",  # an id of a customer may have a slash in it
    response_model=SimilarAnswer,
    responses=NO_ITEM,
)
async def similar_items(
    request: Request, item_id: ItemId, parameters: Annotated[SimilarParameters, Query()]
) -> Response:
    """Find what is like an item, in the item space of the model's decoder.

    What is unavailable now is left out, and so is the item itself.
    """
    recommender = ready_of(request).recommender
    served = recommender.fleet.served(parameters.model)
    item_index = served.catalog.index_of.get(item_id)
    if item_index is None:
        raise UnknownItemError(item_id)
    if parameters.k > recommender.limits.max_k:
        raise TooManyResultsError(parameters.k, recommender.limits.max_k)
    unavailable = recommender.availability()
    shown_I = served.shelf.shown(parameters.category_filter(), None, unavailable)
    wanted = Wanted(parameters.k, NO_ITEMS, shown_I)
    # On a thread: it reads the item matrix, 14 ms at 200,000 items of 200 numbers.
    top = await asyncio.to_thread(served.neighbours.top_k, item_index, wanted)
    return json_response(_similar_content(served, top))


def _similar_content(served: Served, top: TopK) -> Content:
    pairs = zip(top.item_index_K.tolist(), top.score_K, strict=True)
    return {
        "items": [named_item(served.catalog, index) | {"score": score} for index, score in pairs],
        "measure": served.neighbours.measure,
        "model": {"name": served.name, "version": served.version},
    }
