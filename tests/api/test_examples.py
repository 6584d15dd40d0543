"""The examples of the OpenAPI document are true: what they ask is answered, as they answer."""

import hashlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import numpy as np
import pytest

from service.catalog import Catalog

FILMS = ("1", "260", "296", "318", "1196", "1198", "1210", *(str(n) for n in range(5000, 5033)))
ADMIN_KEY = "an admin's"
# What all of its models have: of the others, a model may have nothing for one.
OF_SOME_MODELS = {"dislikes", "diversity", "exploration", "steer"}


@pytest.fixture(scope="module")
def models_dir(write_bundle: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The items and the models that the examples speak of, and one that has fewer controls."""
    path = tmp_path_factory.mktemp("examples")
    catalog = Catalog(
        item_ids=FILMS,
        titles=tuple(f"Star Wars {film}" for film in FILMS),
        categories=(("Action", "Sci-Fi"),) * len(FILMS),
        popularity_I=np.arange(len(FILMS))[::-1].copy(),
    )
    for name in ("multvae", "ease"):
        write_bundle(path / name, catalog, name, positive_threshold=4.0)
    return path


@pytest.fixture
async def service(running: Any, models_dir: Path) -> AsyncIterator[httpx.AsyncClient]:  # noqa: ANN401 - a fixture
    async with running(
        models_dir=models_dir,
        default_model="multvae",
        split="multvae=100",
        admin_keys_sha256=hashlib.sha256(ADMIN_KEY.encode()).hexdigest(),
    ) as client:
        client.headers["x-api-key"] = ADMIN_KEY
        yield client


@pytest.fixture
async def document(service: httpx.AsyncClient) -> dict[str, Any]:
    document: dict[str, Any] = (await service.get("/openapi.json")).json()
    return document


def example_of(about: dict[str, Any]) -> Any:  # noqa: ANN401 - of any field
    return about["examples"][0]


def fields_of(document: dict[str, Any], schema: str) -> dict[str, Any]:
    """Give each field with its example."""
    properties = document["components"]["schemas"][schema]["properties"]
    return {field: example_of(about) for field, about in properties.items()}


def request_of(path: str, operation: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    """Ask with the examples of every parameter, and of every field of the body."""
    given: dict[str, dict[str, Any]] = {"path": {}, "query": {}}
    for parameter in operation.get("parameters", []):
        given[parameter["in"]][parameter["name"]] = example_of(parameter["schema"])
    asked: dict[str, Any] = {"url": path.format(**given["path"]), "params": given["query"]}
    if "requestBody" in operation:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        asked["json"] = fields_of(document, schema.rpartition("/")[2])
    return asked


async def test_whatever_the_examples_ask_all_at_once_is_answered_as_the_document_says(
    service: httpx.AsyncClient, document: dict[str, Any]
) -> None:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            answer = await service.request(method, **request_of(path, operation, document))
            if path.endswith("/rollback"):  # to what nothing was exchanged for
                assert answer.status_code == 409
                continue
            assert answer.is_success, (path, answer.text)
            promised = operation["responses"][str(answer.status_code)].get("content", {})
            if "application/json" in promised:
                shown = promised["application/json"]["example"]
                assert keys_of(answer.json()) <= keys_of(shown), path


async def test_a_probe_answers_what_is_shown(
    service: httpx.AsyncClient, document: dict[str, Any]
) -> None:
    for path in ("/livez", "/readyz"):
        shown = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]
        assert (await service.get(path)).json() == shown["example"]


def keys_of(content: object, within: str = "") -> set[str]:
    """Name every field, however deep; a key of figures or versions stands for any."""
    if isinstance(content, list):
        return {key for part in content for key in keys_of(part, within)}
    if not isinstance(content, dict) or within.endswith((".metrics", ".workers")):
        return set()
    return {
        key
        for field, part in content.items()
        for key in ({f"{within}.{field}"} | keys_of(part, f"{within}.{field}"))
    }


async def test_each_field_is_answered_alone_by_every_model_that_has_something_for_it(
    service: httpx.AsyncClient, document: dict[str, Any]
) -> None:
    fields = fields_of(document, "RecommendRequest")
    for field, example in fields.items():
        body = {"history": fields["history"]} | {field: example}
        assert (await service.post("/recommend", json=body)).json()["items"], field
        answer = await service.post("/recommend", json=body | {"model": "ease"})
        if field in OF_SOME_MODELS:
            assert (answer.status_code, answer.json()["pointer"]) == (422, f"/{field}")
        else:
            assert answer.json()["items"], field


@pytest.mark.parametrize("path", ["/recommend", "/recommend/batch"])
async def test_every_body_that_is_shown_is_answered_with_lists_by_every_model(
    service: httpx.AsyncClient, document: dict[str, Any], path: str
) -> None:
    contents = document["paths"][path]["post"]["requestBody"]["content"]
    shown = [example["value"] for example in contents["application/json"]["examples"].values()]
    bodies = [body for value in shown for body in value.get("requests", [value])]
    for model in ("multvae", "ease"):
        for body in bodies:
            answer = await service.post("/recommend", json=body | {"model": model})
            assert answer.status_code == 200, answer.text
            assert answer.json()["items"], body


async def test_the_stream_that_is_shown_is_answered_line_by_line(
    service: httpx.AsyncClient, document: dict[str, Any]
) -> None:
    operation = document["paths"]["/recommend/batch"]["post"]
    ndjson = "application/x-ndjson"
    lines = operation["requestBody"]["content"][ndjson]["example"]
    headers = {"content-type": ndjson}
    answer = await service.post("/recommend/batch", content=lines, headers=headers)
    assert answer.text.count("\n") == lines.count("\n")
    shown = operation["responses"]["200"]["content"][ndjson]["example"].splitlines()
    schemas = ("RecommendAnswer", "Problem")
    for schema, line in zip(schemas, shown, strict=True):
        fields = document["components"]["schemas"][schema]
        jsonschema_rs.validate(fields | {"components": document["components"]}, json.loads(line))
