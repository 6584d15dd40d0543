"""Every bad request gets a problem of its own kind, and none of them is the service's fault."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, suppress

import httpx
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from service.api.schemas import RecommendRequest
from service.api.validation import from_json
from service.errors import InvalidRequestError

Running = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]

JSON = {"content-type": "application/json"}
FIELDS = "invalid-fields"


def history(*entries: bytes) -> bytes:
    return b'{"history":[%s]}' % b",".join(entries)


def field(name: str, value: bytes) -> bytes:
    return b'{"history":["i1"],"%s":%s}' % (name.encode(), value)


# Body of POST /recommend: status, kind of problem, pointer (None: the problem has none).
BODIES: dict[str, tuple[bytes, int, str, str | None]] = {
    "nothing": (b"", 400, "malformed-json", None),
    "cut short": (b'{"history":["i1"', 400, "malformed-json", None),
    "no JSON": (b"history=i1", 400, "malformed-json", None),
    "a trailing comma": (b'{"k":5,}', 400, "malformed-json", None),
    "two values": (b"{}{}", 400, "malformed-json", None),
    "a byte order mark": (b"\xef\xbb\xbf{}", 400, "malformed-json", None),
    "bytes that are no UTF-8": (b'{"user_id":"\xff\xfe"}', 400, "malformed-json", None),
    "UTF-16": ('{"k":5}'.encode("utf-16"), 400, "malformed-json", None),
    "half a surrogate pair": (b'{"user_id":"\\ud800"}', 400, "malformed-json", None),
    "a surrogate in UTF-8": (b'{"user_id":"\xed\xa0\x80"}', 400, "malformed-json", None),
    "an abyss of lists": (b"[" * 100_000, 400, "malformed-json", None),
    "an abyss of objects": (b'{"a":' * 100_000, 400, "malformed-json", None),
    "an integer of 5,000 digits": (field("k", b"9" * 5000), 400, "malformed-json", None),
    "a list": (b"[]", 422, FIELDS, ""),
    "null": (b"null", 422, FIELDS, ""),
    "a text": (b'"i1"', 422, FIELDS, ""),
    "an empty object": (b"{}", 422, FIELDS, ""),
    "neither history nor user": (b'{"k":5}', 422, FIELDS, ""),
    "a null history alone": (b'{"history":null}', 422, FIELDS, ""),
    "a history of one text": (b'{"history":"i1"}', 422, FIELDS, "/history"),
    "a history that is an object": (b'{"history":{"i1":1}}', 422, FIELDS, "/history"),
    "a null id": (history(b"null"), 422, FIELDS, "/history/0"),
    "a boolean id": (history(b'"i1"', b"true"), 422, FIELDS, "/history/1"),
    "a decimal id": (history(b"1.0"), 422, FIELDS, "/history/0"),
    "an id beyond 64 bits": (history(b"18446744073709551616"), 422, FIELDS, "/history/0"),
    "an id with an exponent": (history(b"1e999999"), 422, FIELDS, "/history/0"),
    "a list as an id": (history(b'["i1"]'), 422, FIELDS, "/history/0"),
    "an object without an id": (history(b'{"rating":5}'), 422, FIELDS, "/history/0/item_id"),
    "an object with a null id": (history(b'{"item_id":null}'), 422, FIELDS, "/history/0/item_id"),
    "a rating in words": (
        history(b'{"item_id":"i1","rating":"good"}'), 422, FIELDS, "/history/0/rating",
    ),
    "a rating that is a boolean": (
        history(b'{"item_id":"i1","rating":true}'), 422, FIELDS, "/history/0/rating",
    ),
    "a rating that is NaN": (
        history(b'{"item_id":"i1","rating":NaN}'), 422, FIELDS, "/history/0/rating",
    ),
    "an infinite rating": (
        history(b'{"item_id":"i1","rating":1e999}'), 422, FIELDS, "/history/0/rating",
    ),
    "a weight of zero": (
        history(b'{"item_id":"i1","weight":0}'), 422, FIELDS, "/history/0/weight",
    ),
    "a negative weight": (
        history(b'{"item_id":"i1","weight":-1}'), 422, FIELDS, "/history/0/weight",
    ),
    "an infinite weight": (
        history(b'{"item_id":"i1","weight":-Infinity}'), 422, FIELDS, "/history/0/weight",
    ),
    "a weight beyond float32": (
        history(b'{"item_id":"i1","weight":1e300}'), 422, FIELDS, "/history/0/weight",
    ),
    "a null weight": (
        history(b'{"item_id":"i1","weight":null}'), 422, FIELDS, "/history/0/weight",
    ),
    "an unknown field of an entry": (
        history(b'{"item_id":"i1","stars":5}'), 422, FIELDS, "/history/0/stars",
    ),
    "k of zero": (field("k", b"0"), 422, FIELDS, "/k"),
    "a negative k": (field("k", b"-1"), 422, FIELDS, "/k"),
    "k as a text": (field("k", b'"5"'), 422, FIELDS, "/k"),
    "k as a decimal": (field("k", b"5.0"), 422, FIELDS, "/k"),
    "k as a boolean": (field("k", b"true"), 422, FIELDS, "/k"),
    "a null k": (field("k", b"null"), 422, FIELDS, "/k"),
    "k that is NaN": (field("k", b"NaN"), 422, FIELDS, "/k"),
    "k above the limit": (field("k", b"101"), 422, "too-many-results", "/k"),
    "k beyond 64 bits": (field("k", b"9" * 400), 422, "too-many-results", "/k"),
    "an empty user id": (b'{"user_id":""}', 422, FIELDS, "/user_id"),
    "a user id of 257 letters": (b'{"user_id":"%s"}' % (b"u" * 257), 422, FIELDS, "/user_id"),
    "a user id with a line break": (b'{"user_id":"u\\n"}', 422, FIELDS, "/user_id"),
    "a user id with a NUL": (b'{"user_id":"\\u0000u"}', 422, FIELDS, "/user_id"),
    "a user id with a C1 control": (b'{"user_id":"u\\u0085"}', 422, FIELDS, "/user_id"),
    "a boolean user id": (b'{"user_id":true}', 422, FIELDS, "/user_id"),
    "excluded items as a text": (field("exclude_items", b'"i1"'), 422, FIELDS, "/exclude_items"),
    "a null among the excluded": (
        field("exclude_items", b'["i1",null]'), 422, FIELDS, "/exclude_items/1",
    ),
    "exclude_seen as a text": (field("exclude_seen", b'"yes"'), 422, FIELDS, "/exclude_seen"),
    "fallback as a number": (field("fallback", b"1"), 422, FIELDS, "/fallback"),
    "another on_unknown": (field("on_unknown", b'"warn"'), 422, FIELDS, "/on_unknown"),
    "a misspelt field": (field("exlude_items", b"[]"), 422, FIELDS, "/exlude_items"),
    "a field with a pointer's signs": (field("a/b~c", b"1"), 422, FIELDS, "/a~1b~0c"),
    "a model that is no text": (field("model", b"1"), 422, FIELDS, "/model"),
    "a model name of 129 letters": (field("model", b'"%s"' % (b"m" * 129)), 422, FIELDS, "/model"),
    "another model": (field("model", b'"other"'), 404, "unknown-model", "/model"),
    "unknown items, strictly": (
        b'{"history":["i1","x"],"on_unknown":"error"}', 422, "unknown-items", None,
    ),
    "an empty history, no fallback": (
        b'{"history":[],"fallback":false}', 422, "empty-history", "/history",
    ),
    "only unknown items, no fallback": (
        b'{"history":["x"],"fallback":false}', 422, "empty-history", "/history",
    ),
    "an unknown user, no fallback": (
        b'{"user_id":"nobody","fallback":false}', 404, "unknown-user", "/user_id",
    ),
    "a history above the limit": (
        history(*[b'"i1"'] * 10_001), 422, "history-too-long", "/history",
    ),
    "a history of a million": (history(*[b"1"] * 1_000_000), 422, "history-too-long", "/history"),
    "too many excluded items": (
        field("exclude_items", b"[%s]" % b",".join([b"1"] * 10_001)),
        422, "history-too-long", "/exclude_items",
    ),
    "a million nulls": (history(*[b"null"] * 1_000_000), 422, FIELDS, "/history/0"),
    "a hundred thousand unknown fields": (
        b"{%s}" % b",".join(b'"f%d":1' % number for number in range(100_000)), 422, FIELDS, None,
    ),
    "a body above the limit": (history(b'"%s"' % (b"x" * 8_400_000)), 413, "body-too-large", None),
}  # fmt: skip

# Other requests: method, path, status, kind of problem, pointer.
REQUESTS: dict[str, tuple[str, str, int, str, str | None]] = {
    "no such path": ("GET", "/nope", 404, "not-found", None),
    "a slash too many": ("GET", "/livez/", 404, "not-found", None),
    "a path that climbs": ("GET", "/..%2f..%2fetc/passwd", 404, "not-found", None),
    "GET of a POST route": ("GET", "/recommend", 405, "method-not-allowed", None),
    "DELETE of a probe": ("DELETE", "/livez", 405, "method-not-allowed", None),
    "POST to the page": ("POST", "/", 405, "method-not-allowed", None),
    "an unheard-of method": ("FROBNICATE", "/livez", 405, "method-not-allowed", None),
    "an empty user id": ("GET", "/users//recommendations", 422, FIELDS, "/user_id"),
    "a long user id": ("GET", f"/users/{'u' * 257}/recommendations", 422, FIELDS, "/user_id"),
    "a user id with a line break": ("GET", "/users/u%0Av/recommendations", 422, FIELDS, "/user_id"),
    "a user id that ends a line": ("DELETE", "/users/u%0A", 422, FIELDS, "/user_id"),
    "a user id with a control": ("DELETE", "/users/u%7F", 422, FIELDS, "/user_id"),
    "k of zero": ("GET", "/users/u/recommendations?k=0", 422, FIELDS, "/k"),
    "k in words": ("GET", "/users/u/recommendations?k=five", 422, FIELDS, "/k"),
    "k above the limit": ("GET", "/users/u/recommendations?k=101", 422, "too-many-results", "/k"),
    "an unknown parameter": ("GET", "/users/u/recommendations?n=5", 422, FIELDS, "/n"),
    "two thousand unknown parameters": (
        "GET", "/users/u/recommendations?" + "&".join(f"n{number}=1" for number in range(2000)),
        422, FIELDS, None,
    ),
    "another model": (
        "GET", "/users/u/recommendations?model=x", 404, "unknown-model", "/model",
    ),
    "a search without limit": ("GET", "/items?limit=101", 422, FIELDS, "/limit"),
    "a search for a novel": ("GET", f"/items?query={'x' * 201}", 422, FIELDS, "/query"),
    "a search with an unknown parameter": ("GET", "/items?q=x", 422, FIELDS, "/q"),
    "items of another model": ("GET", "/items?model=x", 404, "unknown-model", "/model"),
}  # fmt: skip


ONE_APP = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(running: Running) -> AsyncIterator[httpx.AsyncClient]:
    """One app for all bad requests: what survives one of them must survive them all."""
    async with running() as started:
        yield started


def check(answer: httpx.Response, status: int, kind: str, pointer: str | None) -> None:
    assert answer.status_code == status, answer.text[:500]
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == f"/problems/{kind}"
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert problem.get("pointer") == pointer
    assert problem["request_id"] == answer.headers["x-request-id"] == "asked-1"
    assert len(answer.content) < 20_000


@ONE_APP
@pytest.mark.parametrize("name", BODIES)
async def test_a_bad_body_gets_its_own_problem(shared: httpx.AsyncClient, name: str) -> None:
    body, status, kind, pointer = BODIES[name]
    headers = JSON | {"X-Request-ID": "asked-1"}
    check(await shared.post("/recommend", content=body, headers=headers), status, kind, pointer)


@ONE_APP
@pytest.mark.parametrize("name", REQUESTS)
async def test_a_bad_request_gets_its_own_problem(shared: httpx.AsyncClient, name: str) -> None:
    method, path, status, kind, pointer = REQUESTS[name]
    answer = await shared.request(method, path, headers={"X-Request-ID": "asked-1"})
    check(answer, status, kind, pointer)


@pytest.mark.parametrize("media_type", [None, "text/plain", "application/x-www-form-urlencoded"])
async def test_a_body_that_does_not_say_it_is_json_is_not_read(
    client: httpx.AsyncClient, media_type: str | None
) -> None:
    headers = {"X-Request-ID": "asked-1"} | ({"content-type": media_type} if media_type else {})
    answer = await client.post("/recommend", content=b'{"history":["i1"]}', headers=headers)
    check(answer, 415, "unsupported-media-type", None)
    assert "application/json" in answer.json()["hint"]


async def test_a_method_that_is_not_served_learns_which_is(client: httpx.AsyncClient) -> None:
    assert (await client.get("/recommend")).headers["allow"] == "POST"


async def test_a_body_without_a_length_is_cut_off_at_the_limit(running: Running) -> None:
    read: list[int] = []

    async def endless() -> AsyncIterator[bytes]:
        while True:
            read.append(1)
            yield b" " * 1000

    async with running(max_body_bytes=5000) as client:
        headers = JSON | {"X-Request-ID": "asked-1"}
        answer = await client.post("/recommend", content=endless(), headers=headers)
        check(answer, 413, "body-too-large", None)
    assert len(read) == 6


@pytest.mark.parametrize("path", ["/recommend", "/recommend/batch", "/users/u/interactions"])
async def test_a_body_that_stalls_is_refused_in_time(
    running: Running, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr("service.api.bodies.BODY_TIMEOUT_S", 0.05)

    async def stalled() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    async with running() as client:
        headers = JSON | {"X-Request-ID": "asked-1"}
        answer = await client.post(path, content=stalled(), headers=headers)
        check(answer, 408, "body-too-slow", None)


@pytest.mark.parametrize("length", ["5001", "9" * 5000])
async def test_a_body_that_announces_too_much_is_not_read(running: Running, length: str) -> None:
    def unread() -> Iterator[bytes]:
        yield b"{}"

    async with running(max_body_bytes=5000) as client:
        headers = JSON | {"X-Request-ID": "asked-1", "content-length": length}
        request = client.build_request("POST", "/recommend", content=b"{}", headers=headers)
        check(await client.send(request), 413, "body-too-large", None)


async def test_every_wrong_field_is_named_and_a_near_miss_is_guessed(
    client: httpx.AsyncClient,
) -> None:
    request = {
        "history": [{"item_id": "i1", "rating": "x", "colour": 1}],
        "exlude_items": [],
        "k": 0,
    }
    problem = (await client.post("/recommend", json=request)).json()
    assert problem["errors"] == [
        {"pointer": "/k", "detail": "Input should be greater than or equal to 1"},
        {"pointer": "/history/0/rating", "detail": "Input should be a valid number"},
        {"pointer": "/history/0/colour", "detail": "no such field"},
        {"pointer": "/exlude_items", "detail": "no such field; did you mean exclude_items?"},
    ]


async def test_no_value_of_a_bad_body_comes_back(client: httpx.AsyncClient) -> None:
    body = {"history": [{"item_id": "s3cret", "rating": "s3cret"}], "k": "s3cret"}
    answer = await client.post("/recommend", json=body)
    assert answer.status_code == 422
    assert "s3cret" not in answer.text


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
names = st.sampled_from([*RecommendRequest.model_fields, "item_id", "rating", "weight", "else"])
objects = st.dictionaries(names, scalars, max_size=3)
bodies = st.dictionaries(names, scalars | st.lists(scalars | objects, max_size=3), max_size=4)


@given(bodies)
def test_any_json_is_a_request_or_an_invalid_one(body: dict[str, object]) -> None:
    content = json.dumps(body).encode()  # writes NaN and integers of any size, as some clients do
    with suppress(InvalidRequestError):  # any other error fails the test
        from_json(RecommendRequest, content).to_query(100)


@given(st.binary(max_size=50))
def test_any_bytes_are_a_request_or_an_invalid_one(content: bytes) -> None:
    with suppress(InvalidRequestError):
        from_json(RecommendRequest, content)
