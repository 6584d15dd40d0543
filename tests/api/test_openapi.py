"""The OpenAPI document describes every route, and /docs needs no other host."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema_rs
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


def described(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give every field of a schema and every parameter with the schema of its values."""
    for name, schema in document["components"]["schemas"].items():
        for field, about in schema["properties"].items():
            yield f"{name}.{field}", about
    for (method, path), operation in operations(document).items():
        for parameter in operation.get("parameters", []):
            about = parameter["schema"] | {"description": parameter.get("description")}
            yield f"{method} {path} {parameter['name']}", about


def test_every_field_is_explained_with_an_example_that_it_may_have(
    document: dict[str, Any],
) -> None:
    assert all(schema["description"] for schema in document["components"]["schemas"].values())
    for name, about in described(document):
        assert about.get("description"), name
        (example,) = about["examples"]
        validate(about, example, document)


def test_every_answer_has_an_example_of_its_schema(document: dict[str, Any]) -> None:
    for key, operation in operations(document).items():
        for status, answer in operation["responses"].items():
            for media_type, content in answer.get("content", {}).items():
                if int(status) < 400:
                    assert content["example"], (key, media_type)
                    validate(content.get("schema", {}), content["example"], document)


def validate(schema: dict[str, Any], value: object, document: dict[str, Any]) -> None:
    jsonschema_rs.validate(schema | {"components": document["components"]}, value)


async def test_the_examples_work(client: httpx.AsyncClient, document: dict[str, Any]) -> None:
    for path in ("/recommend", "/recommend/batch", "/users/{user_id}/interactions"):
        content = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        for example in content["examples"].values():
            answer = await client.post(path.format(user_id="u-17"), json=example["value"])
            assert answer.status_code == 200, answer.text


async def test_a_parameter_says_how_it_is_written_into_an_address(
    client: httpx.AsyncClient, document: dict[str, Any]
) -> None:
    operation = document["paths"]["/users/{user_id}/recommendations"]["get"]
    described = {one["name"]: one["description"] for one in operation["parameters"]}
    assert described["categories_any"].endswith("`categories_any=Action&categories_any=Sci-Fi`")
    for name in described.keys() - {"user_id", "model", "fallback"}:
        query = described[name].split("`")[-2]
        answer = await client.get(f"/users/u-17/recommendations?{query}")
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
