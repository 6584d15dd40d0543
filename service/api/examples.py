"""Examples of every field, parameter and answer of the OpenAPI document: one table by name.

A field is called the same wherever it means the same, so that it has one example. The items are
those of MovieLens. An object has none of its own: it is put together from those of its fields.
"""

from collections.abc import Mapping
from typing import Any, Final, TypeAlias
from urllib.parse import quote

import orjson

from service.api.answers import JSON
from service.api.lines import NDJSON

Part: TypeAlias = dict[str, Any]

NAME: Final = "multvae"
VERSION: Final = "20261130T094831Z-8beb08ce"
A_NEW_HOPE: Final = "Star Wars: Episode IV - A New Hope (1977)"

# By the name of the field; where it means something else in one schema, with the schema's before.
FIELDS: Final[Mapping[str, object]] = {
    # What may be asked.
    "history": ["1", {"item_id": "260", "rating": 4.5}],
    "user_id": "u-17",
    "k": 5,
    "exclude_items": ["1210"],
    "candidate_items": ["296", "318", "1198"],
    "exclude_seen": False,
    "categories_any": ["Action", "Sci-Fi"],
    "categories_all": ["Action"],
    "categories_none": ["Horror"],
    "CategoryChoice.any": ["Action", "Sci-Fi"],
    "CategoryChoice.all": ["Action"],
    "CategoryChoice.none": ["Horror"],
    "on_unknown": "ignore",
    "dislikes": ["1210"],
    "diversity": 0.3,
    "popularity_penalty": 0.2,
    "calibration": 0.5,
    "exploration": 0.5,
    "seed": 7,
    "steer": ["0:1.5", "1:-0.5"],
    "RecommendRequest.steer": {"0": 1.5, "1": -0.5},
    "explain": True,
    "fallback": False,
    "model": NAME,
    "BatchRequest.requests": [{"history": ["1", "260"], "k": 5}, {"user_id": "u-17"}],
    "events": ["1", {"item_id": "1196", "rating": 4.5, "event_id": "evt-81"}],
    "event_id": "evt-81",
    "rating": 4.5,
    "weight": 2.0,
    "query": "star wars",
    "limit": 5,
    "items": ["260", "1210"],
    # What is answered.
    "item_id": "260",
    "title": A_NEW_HOPE,
    "RecommendedItem.item_id": "318",
    "RecommendedItem.title": "Shawshank Redemption, The (1994)",
    "SimilarItem.item_id": "1210",
    "SimilarItem.title": "Star Wars: Episode VI - Return of the Jedi (1983)",
    "score": 2.1642182,
    "SimilarItem.score": 0.23197636,
    "lift": 0.21804842,
    "source": "model",
    "reason": "no_known_items",
    "unknown_items": ["no-such-item"],
    "cache": "miss",
    "KeptUserAnswer.cache": "hit",
    "variant": NAME,
    "recommendation_id": "c10c7449b8b4371d846a04a12c079276",
    "measure": "cosine",
    "categories": ["Action", "Adventure", "Sci-Fi"],
    "popularity": 178,
    "x": -0.29390989,
    "y": -0.19332692,
    "shares": [0.0592, 0.0124],
    "dimension": 90,
    "effect": 0.14764403,
    "DimensionCard.above": {
        "items": [{"item_id": "60069", "title": "WALL·E (2008)"}],
        "categories": ["Action", "IMAX"],
    },
    "DimensionCard.below": {
        "items": [{"item_id": "3543", "title": "Diner (1982)"}],
        "categories": ["Romance", "Comedy"],
    },
    "count": 12,
    "name": NAME,
    "version": VERSION,
    "digest": "8beb08ce1395226ae6a0e3207fa8184135170e95b9d18eb644c4bb01adb5aeb7",
    "architecture": "multvae",
    "retrieval": "int8",
    "retrieval_recall": 1.0,
    "num_items": 5653,
    "positive_threshold": 4.0,
    "metrics": {"test": {"recall@20": 0.1146, "ndcg@100": 0.1626, "users": 65}},
    "created_at": "2026-11-30T09:48:31Z",
    "controls": [
        "popularity_penalty", "explain", "diversity", "dislikes", "exploration", "steer",
        "calibration",
    ],
    "split_share": 0.9,
    "is_shadow": False,
    "previous_version": "20261124T073712Z-f9fb0671",
    "workers": {VERSION: 2},
    "outcome": "swapped",
    "Health.status": "ready",
    "Problem.type": "/problems/invalid-fields",
    "Problem.title": "Fields are wrong, missing or unknown",
    "status": 422,
    "detail": "Input should be greater than or equal to 1",
    "Problem.detail": "/k: Input should be greater than or equal to 1",
    "pointer": "/k",
    "hint": "GET /models lists what is served.",
    "request_id": "4b1d6b8c0f0f4c9d9f2f6a3f5f1f7a52",
}  # fmt: skip

# A list of the model has no reason, and a problem that names its fields no hint.
LEFT_OUT: Final = {"RecommendAnswer": {"reason"}, "Problem": {"hint"}}

# Where two routes have one schema and never the same answer.
OF_ROUTES: Final[Mapping[str, Part]] = {
    "/livez": {"status": "alive"},
    "/models/{name}/rollback": {"outcome": "rolled_back"},
}


def illustrate(document: Part) -> None:
    """Give an example to each field and parameter of a document, and to each answer in JSON.

    Raises:
        KeyError: A field or a parameter has none.
    """
    schemas: Part = document["components"]["schemas"]
    for name, schema in schemas.items():
        for field, about in schema["properties"].items():
            about["examples"] = [_of_field(name, field, about, schemas)]
    for path, methods in document["paths"].items():
        for operation in methods.values():
            for parameter in operation.get("parameters", ()):
                _illustrate_parameter(parameter, FIELDS[parameter["name"]])
            for answer in operation["responses"].values():
                _illustrate_answer(answer.get("content", {}), OF_ROUTES.get(path, {}), schemas)


def _illustrate_parameter(parameter: Part, example: object) -> None:
    parameter["schema"]["examples"] = [example]
    if parameter["in"] == "path":
        parameter["example"] = example
        return
    # In words: a page fills every ``example`` in, and who tried one out would ask for all of them.
    values = example if isinstance(example, list) else [example]
    said = [str(value).lower() if isinstance(value, bool) else str(value) for value in values]
    query = "&".join(f"{parameter['name']}={quote(text, safe=':')}" for text in said)
    parameter["description"] += f" For example: `{query}`"


def _illustrate_answer(content: Part, own: Part, schemas: Part) -> None:
    if JSON not in content:
        return
    example = _of_schema(content[JSON]["schema"]["$ref"], schemas) | own
    content[JSON]["example"] = example
    if NDJSON in content:  # the rows of a batch, one a line
        lines = [orjson.dumps(row).decode() + "\n" for row in example["results"]]
        content[NDJSON]["example"] = "".join(lines)


def _of_field(schema: str, field: str, about: Part, schemas: Part) -> object:
    own = FIELDS.get(f"{schema}.{field}")
    if own is None:
        own = _of_objects(about, schemas)
    return FIELDS[field] if own is None else own


def _of_objects(about: Part, schemas: Part) -> object:
    """Put an object together, or a list with one of each kind; None where there are none."""
    if "$ref" in about:
        return _of_schema(about["$ref"], schemas)
    kinds = about.get("items", {}).get("anyOf", [about.get("items", {})])
    if all("$ref" in kind for kind in kinds):
        return [_of_schema(kind["$ref"], schemas) for kind in kinds]
    found = (_of_objects(option, schemas) for option in about.get("anyOf", ()))
    return next((objects for objects in found if objects is not None), None)


def _of_schema(reference: str, schemas: Part) -> Part:
    name = reference.rpartition("/")[2]
    return {
        field: _of_field(name, field, about, schemas)
        for field, about in schemas[name]["properties"].items()
        if field not in LEFT_OUT.get(name, ())
    }
