"""The OpenAPI document describes every route, and /docs needs no other host."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

OPERATIONS = {
    ("post", "/recommend"),
    ("post", "/recommend/batch"),
    ("get", "/users/{user_id}/recommendations"),
    ("post", "/users/{user_id}/interactions"),
    ("delete", "/users/{user_id}"),
    ("get", "/models"),
    ("post", "/models/{name}/reload"),
    ("post", "/models/{name}/rollback"),
    ("get", "/items"),
    ("get", "/items/{item_id}/similar"),
    ("get", "/items/map"),
    ("get", "/models/{name}/dimensions"),
    ("get", "/livez"),
    ("get", "/readyz"),
    ("get", "/metrics"),
}


@pytest.fixture
async def document(client: httpx.AsyncClient) -> dict[str, Any]:
    document: dict[str, Any] = (await client.get("/openapi.json")).json()
    return document


def operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method, path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def references(part: object) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for inner in part.values():
            yield from references(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from references(inner)


def test_every_route_is_there(document: dict[str, Any]) -> None:
    assert set(operations(document)) == OPERATIONS
    assert document["openapi"].startswith("3.1")
    assert document["info"]["title"] == "Foldin"


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    found = set(references(document))
    assert found
    for reference in found:
        part = document
        for name in reference.removeprefix("#/").split("/"):
            part = part[name]
        assert part


def test_every_answer_has_a_schema_and_a_description(document: dict[str, Any]) -> None:
    for key, operation in operations(document).items():
        assert operation["summary"], key
        assert operation["description"], key
        for status, answer in operation["responses"].items():
            assert answer["description"], (key, status)
            if int(status) >= 400:
                schema = answer["content"]["application/problem+json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/Problem"}
            elif int(status) != 204 and key != ("get", "/metrics"):
                assert "$ref" in answer["content"]["application/json"]["schema"], key


@pytest.mark.parametrize(
    ("path", "schema"),
    [
        ("/recommend", "RecommendRequest"),
        ("/recommend/batch", "BatchRequest"),
        ("/users/{user_id}/interactions", "EventsRequest"),
    ],
)
def test_every_body_has_a_schema_and_an_example(
    document: dict[str, Any], path: str, schema: str
) -> None:
    body = document["paths"][path]["post"]["requestBody"]
    content = body["content"]["application/json"]
    assert body["required"]
    assert content["schema"] == {"$ref": f"#/components/schemas/{schema}"}
    assert content["examples"]


def test_every_field_is_explained(document: dict[str, Any]) -> None:
    for name, schema in document["components"]["schemas"].items():
        assert schema["description"], name
        for field, about in schema["properties"].items():
            assert about.get("description") or "$ref" in about, (name, field)
    for key, operation in operations(document).items():
        for parameter in operation.get("parameters", []):
            assert parameter.get("description"), (key, parameter["name"])


async def test_the_examples_work(client: httpx.AsyncClient, document: dict[str, Any]) -> None:
    for path in ("/recommend", "/recommend/batch", "/users/{user_id}/interactions"):
        content = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        for example in content["examples"].values():
            answer = await client.post(path.format(user_id="u-17"), json=example["value"])
            assert answer.status_code == 200, answer.text


async def test_the_docs_load_nothing_from_another_host(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs")
    assert page.status_code == 200
    assert not re.search("https?:|//cdn", page.text)
    assets = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(assets) == 3
    for asset in assets:
        assert (await client.get(asset)).status_code == 200
    assert (await client.get("/redoc")).status_code == 404
