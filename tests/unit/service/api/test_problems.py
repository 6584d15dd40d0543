"""The table of problems is complete, and a problem shows no more than it should."""

from collections.abc import Iterator

import orjson
import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

import service.api.validation  # noqa: F401 - defines or imports every error of HTTP
from service import errors
from service.api.problems import (
    PROBLEMS,
    BodyTooSlowError,
    InvalidFieldsError,
    WrongField,
    on_error,
    problem_body,
    problem_response,
)
from service.api.validation import on_wrong_parameters
from service.errors import CheckpointError, FoldinError, LatentStoreError, SettingsError

# Start-up fails, or the recommender deals with it: no caller sees these.
INTERNAL = (CheckpointError, SettingsError, LatentStoreError)


def leaves(error: type[FoldinError]) -> Iterator[type[FoldinError]]:
    heirs = error.__subclasses__()
    for heir in heirs:
        yield from leaves(heir)
    if not heirs:
        yield error


def service_leaves() -> list[type[FoldinError]]:
    return [leaf for leaf in leaves(FoldinError) if leaf.__module__.startswith("service.")]


def a_request() -> Request:
    scope = {"type": "http", "method": "GET", "headers": [], "state": {"request_id": "r-1"}}
    return Request(scope)


@pytest.mark.parametrize("leaf", service_leaves(), ids=lambda leaf: leaf.__name__)
def test_every_error_that_can_reach_a_caller_is_in_the_table(leaf: type[FoldinError]) -> None:
    assert (leaf in PROBLEMS) != issubclass(leaf, INTERNAL)


def test_every_kind_has_a_type_of_its_own_and_a_client_or_capacity_status() -> None:
    slugs = [kind.slug for kind in PROBLEMS.values()]
    assert len(set(slugs)) == len(slugs)
    assert all(400 <= kind.status < 500 or kind.status in {503, 504} for kind in PROBLEMS.values())


@pytest.mark.parametrize(
    ("error", "pointer"),
    [
        (errors.TooManyResultsError(9, 5), "/k"),
        (errors.HistoryTooLongError("exclude_items", 9, 5), "/exclude_items"),
        (errors.UnknownModelError("m", ["n"]), "/model"),
        (InvalidFieldsError([WrongField("/k", "bad")], 1), "/k"),
        (InvalidFieldsError([], 1000), ""),
    ],
)
def test_pointers_lead_into_the_row_of_a_batch(error: FoldinError, pointer: str) -> None:
    assert problem_body(error, "r-1").get("pointer", "") == pointer
    assert problem_body(error, "r-1", "/requests/7")["pointer"] == f"/requests/7{pointer}"


def test_an_error_of_nobody_shows_nothing() -> None:
    body = problem_body(ValueError("s3cret"), "r-1")
    assert body == {
        "type": "/problems/internal-error",
        "title": "The service failed",
        "status": 500,
        "request_id": "r-1",
    }


@pytest.mark.parametrize("error", [errors.OverloadedError(7), errors.NotReadyError("loading")])
def test_who_should_come_back_is_told_when(error: FoldinError) -> None:
    answer = problem_response(error, "r-1")
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1


async def test_too_many_wrong_fields_are_counted_and_not_named() -> None:
    body = problem_body(InvalidFieldsError([], 1234), "r-1")
    assert body["detail"] == "1234 fields are wrong"
    assert "errors" not in body


async def test_a_refusal_of_the_router_keeps_its_headers() -> None:
    answer = await on_error(a_request(), HTTPException(405, headers={"Allow": "POST"}))
    assert answer.headers["allow"] == "POST"
    assert orjson.loads(answer.body)["type"] == "/problems/method-not-allowed"


@pytest.mark.parametrize("error", [CheckpointError("x"), KeyError("x")])
async def test_an_error_outside_the_table_goes_on_to_the_last_defence(error: Exception) -> None:
    with pytest.raises(type(error)):
        await on_error(a_request(), error)
    with pytest.raises(type(error)):
        await on_wrong_parameters(a_request(), error)


def test_who_sends_a_body_too_slowly_is_let_go() -> None:
    answer = problem_response(BodyTooSlowError("30 s are over"), "r-1")
    assert (answer.status_code, answer.headers["connection"]) == (408, "close")
