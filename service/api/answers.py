"""What answers look like: their documentation, and the bytes that are sent.

The models document; no answer is validated on the way out. Bytes are built once, from plain
values.
"""

from typing import Final, Literal, TypeAlias, final

import numpy as np
import orjson
from fastapi import Response
from pydantic import BaseModel, ConfigDict

from service.api.explained import explained_items
from service.catalog import Catalog
from service.recommendation import CacheOutcome, Reason, Recommendation, Source
from service.retrieval.base import TopK

JSON: Final = "application/json"

Content: TypeAlias = dict[str, object]


class Answer(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(use_attribute_docstrings=True)


@final
class CauseNote(Answer):
    """An entry of the history that raised an item."""

    item_id: str
    """The entry."""

    title: str | None = None
    """Left out where the catalogue has none."""

    lift: float
    """By how much the item's score would be less without the entry."""


@final
class RecommendedItem(Answer):
    """One item of a list."""

    item_id: str
    """The item."""

    score: float
    """Of the model, or the number of users who have the item; larger is better."""

    title: str | None = None
    """Left out where the catalogue has none."""

    because: list[CauseNote] | None = None
    """Where ``explain`` asked: the entries that raised the score most, the strongest first."""


@final
class AnsweringModel(Answer):
    """A model, and which state of it."""

    name: str
    """As requests name it."""

    version: str
    """Of its bundle: sortable by time, bound to the content."""


@final
class RecommendAnswer(Answer):
    """One list, and how it came about."""

    items: list[RecommendedItem]
    """Best first."""

    source: Source
    """The model, or the fallback."""

    reason: Reason | None = None
    """Why the fallback answered; left out for the model."""

    unknown_items: list[str]
    """Ids that the request names and the catalogue lacks; not those of a kept history."""

    cache: CacheOutcome
    """What the latent store had for the user; bypass: it was not asked."""

    model: AnsweringModel
    """Who answered."""

    variant: str | None = None
    """The arm of the running split that the user is in; left out where no split chose the model."""

    recommendation_id: str
    """Unique, for joining outcomes to the list."""


@final
class WrongFieldNote(Answer):
    """One wrong field."""

    pointer: str
    """JSON pointer to the field."""

    detail: str
    """What is wrong with it."""


@final
class Problem(Answer):
    """Why there is no answer (RFC 9457)."""

    type: str
    """Stable name of the kind of problem."""

    title: str
    """The kind of problem in words."""

    status: int
    """HTTP status; for a row of a batch, the status it would have had alone."""

    detail: str | None = None
    """What is wrong this time."""

    pointer: str | None = None
    """JSON pointer to the field at fault, where there is one."""

    errors: list[WrongFieldNote] | None = None
    """Every wrong field, where there may be several."""

    hint: str | None = None
    """What may be done about it."""

    request_id: str
    """For finding the request in the log."""


@final
class BatchAnswer(Answer):
    """Many lists."""

    results: list[RecommendAnswer | Problem]
    """One per row, in the order of the rows."""


@final
class ItemCard(Answer):
    """One item of a catalogue."""

    item_id: str
    """The item."""

    title: str
    """Empty where the catalogue has none."""

    categories: list[str]
    """Empty where the catalogue has none."""

    popularity: int
    """Training users who have the item."""


@final
class ItemList(Answer):
    """Items that a search found."""

    items: list[ItemCard]
    """The most popular first."""


@final
class Health(Answer):
    """The answer to a probe."""

    status: Literal["alive", "ready"]
    """What the probe asked."""


def list_content(recommendation: Recommendation) -> Content:
    """Give one list as plain values and ready JSON; scores are as short as float32 needs."""
    content: Content = {
        "items": orjson.Fragment(_items_json(recommendation.catalog, recommendation.top)),
        "source": recommendation.source,
        "unknown_items": recommendation.unknown_items,
        "cache": recommendation.cache,
        "model": {"name": recommendation.model_name, "version": recommendation.model_version},
        "recommendation_id": recommendation.recommendation_id,
    }
    if recommendation.reason:
        content["reason"] = recommendation.reason
    if recommendation.variant is not None:
        content["variant"] = recommendation.variant
    if recommendation.causes is not None:
        content["items"] = explained_items(recommendation, recommendation.causes)
    return content


def _items_json(catalog: Catalog, top: TopK) -> bytes:
    written = map(catalog.item_json.__getitem__, top.item_index_K.tolist())
    # All scores in one call, then taken apart: a number has no comma in it.
    scores = orjson.dumps(np.ascontiguousarray(top.score_K), option=orjson.OPT_SERIALIZE_NUMPY)
    numbers = scores[1:-1].split(b",")
    return b"[%b]" % b",".join(
        [before + score + after for (before, after), score in zip(written, numbers, strict=False)]
    )


def item_content(catalog: Catalog, item_index: int) -> Content:
    """Give an item as plain values."""
    return {
        "item_id": catalog.item_ids[item_index],
        "title": catalog.titles[item_index],
        "categories": catalog.categories[item_index],
        "popularity": int(catalog.popularity_I[item_index]),
    }


def json_bytes(content: Content) -> bytes:
    """Write the body of an answer."""
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def json_response(content: Content) -> Response:
    """Write an answer."""
    return Response(json_bytes(content), media_type=JSON)
