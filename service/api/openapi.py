"""The parts of the OpenAPI document that FastAPI cannot see: bodies read as bytes, problems."""

from typing import Any, Final

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service.api.answers import JSON, Problem
from service.api.examples import illustrate
from service.api.problems import MEDIA_TYPE
from service.api.schemas import BatchRequest, RecommendRequest
from service.api.user_schemas import EventsRequest

REF_TEMPLATE: Final = "#/components/schemas/{model}"
UNSEEN: Final[tuple[type[BaseModel], ...]] = (
    RecommendRequest, BatchRequest, EventsRequest, Problem,
)  # fmt: skip

# Either of them, or none where no keys are set.
KEY_SCHEMES: Final = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}

RECOMMEND_EXAMPLES: Final = {
    "ids": {"summary": "Ids alone", "value": {"history": ["1", "260", "1196"], "k": 5}},
    "objects": {
        "summary": "Ratings, a user to remember, an item to leave out",
        "value": {
            "history": [{"item_id": "1", "rating": 5}, {"item_id": "260", "rating": 2.5}],
            "user_id": "u-17",
            "exclude_items": ["1210"],
        },
    },
    "order": {
        "summary": "Other categories, another order, and why",
        "value": {
            "history": ["1", "260"],
            "categories": {"none": ["Horror"]},
            "popularity_penalty": 0.2,
            "calibration": 0.5,
            "explain": True,
        },
    },
}
BATCH_EXAMPLES: Final = {
    "two rows": {"value": {"requests": [{"history": ["1", "260"], "k": 5}, {"user_id": "u-17"}]}}
}


def body(model: type[BaseModel], examples: dict[str, Any]) -> dict[str, Any]:
    """Describe a JSON body that the route reads for itself; for ``openapi_extra``."""
    schema = {"$ref": REF_TEMPLATE.format(model=model.__name__)}
    content = {JSON: {"schema": schema, "examples": examples}}
    return {"requestBody": {"required": True, "content": content}}


def problems(**described: str) -> dict[int | str, dict[str, Any]]:
    """Describe the problems of a route, ``s422="..."`` for status 422; for ``responses``."""
    content = {MEDIA_TYPE: {"schema": {"$ref": REF_TEMPLATE.format(model=Problem.__name__)}}}
    return {
        int(status[1:]): {"description": description, "content": content}
        for status, description in described.items()
    }


def complete(app: FastAPI) -> None:
    """Add what routes refer to, how a key is sent, and examples; called after all routes."""
    _, definitions = models_json_schema(
        [(model, "validation") for model in UNSEEN], ref_template=REF_TEMPLATE
    )
    document = app.openapi()
    document["components"]["schemas"].update(definitions["$defs"])
    document["components"]["securitySchemes"] = KEY_SCHEMES
    document["security"] = [{}, *({name: []} for name in KEY_SCHEMES)]
    illustrate(document)
