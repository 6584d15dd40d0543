"""A key opens what it is for, however it is sent, and nothing else does."""

import hashlib
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Scope

from service.api import security
from service.api.problems import ForbiddenError, UnauthenticatedError
from service.api.security import AccessKeys, AccessScope
from service.errors import FoldinError

ASKER, OTHER_ASKER, CHIEF = "a" * 43, "b" * 43, "c" * 43


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


KEYS = AccessKeys.of_hex([digest(OTHER_ASKER), digest(ASKER)], [digest(CHIEF).upper()])


def scope(**headers: str) -> Scope:
    pairs = [(b"host", b"foldin.test")]
    pairs += [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()]
    return {"type": "http", "headers": pairs}


def refusal(keys: AccessKeys, name: AccessScope, **headers: str) -> type[FoldinError] | None:
    refused: FoldinError | None = None
    try:
        keys.require(scope(**headers), name)
    except FoldinError as error:
        refused = error
    assert not any(key in str(refused) for key in (ASKER, OTHER_ASKER, CHIEF))
    return None if refused is None else type(refused)


@pytest.mark.parametrize(
    ("key", "name", "expected"),
    [
        (ASKER, "recommend", None),
        (OTHER_ASKER, "recommend", None),
        (CHIEF, "recommend", None),
        (CHIEF, "admin", None),
        (ASKER, "admin", ForbiddenError),
        ("d" * 43, "recommend", UnauthenticatedError),
        ("d" * 43, "admin", UnauthenticatedError),
        (digest(ASKER), "recommend", UnauthenticatedError),
        ("", "recommend", UnauthenticatedError),
    ],
)
def test_a_key_opens_what_it_is_for_sent_either_way(
    key: str, name: AccessScope, expected: type[FoldinError] | None
) -> None:
    assert refusal(KEYS, name, authorization=f"Bearer {key}") is expected
    assert refusal(KEYS, name, authorization=f"bearer  {key} ") is expected
    assert refusal(KEYS, name, x_api_key=key) is expected


@pytest.mark.parametrize(
    "headers",
    [{}, {"authorization": f"Basic {ASKER}"}, {"authorization": ASKER}, {"cookie": ASKER}],
)
def test_a_key_sent_any_other_way_is_none(headers: dict[str, str]) -> None:
    assert refusal(KEYS, "recommend", **headers) is UnauthenticatedError


def test_without_keys_everybody_may_ask_and_nobody_may_exchange_the_model() -> None:
    assert refusal(AccessKeys(), "recommend") is None
    assert refusal(AccessKeys(), "admin") is ForbiddenError
    only_askers = AccessKeys.of_hex([digest(ASKER)], [])
    assert refusal(only_askers, "admin", x_api_key=ASKER) is ForbiddenError


def test_with_admin_keys_alone_everybody_may_ask() -> None:
    only_chief = AccessKeys.of_hex([], [digest(CHIEF)])
    assert refusal(only_chief, "recommend") is None
    assert refusal(only_chief, "admin", x_api_key=ASKER) is UnauthenticatedError
    assert refusal(only_chief, "admin", x_api_key=CHIEF) is None


@given(st.binary(max_size=200))
def test_no_other_bytes_open_anything(sent: bytes) -> None:
    for headers in ([(b"authorization", b"Bearer " + sent)], [(b"x-api-key", sent)]):
        with pytest.raises(UnauthenticatedError):
            KEYS.require({"type": "http", "headers": headers}, "recommend")


def test_keys_do_not_show_what_they_hold() -> None:
    assert digest(ASKER) not in repr(KEYS)
    assert str(bytes.fromhex(digest(ASKER))) not in repr(KEYS)


def test_the_documented_line_makes_a_key_with_its_digest() -> None:
    lines = re.findall(r"python -c \"(.*?)\"", security.__doc__ or "", re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", lines[0].replace("\n    ", "\n")],
        capture_output=True,
        text=True,
        check=True,
    )
    key, made = done.stdout.split()
    assert len(key) == 43
    assert made == digest(key)
