"""Requests made up from the OpenAPI document, right and wrong ones: never a failure, never a hang.

Every answer is one that the document promises.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from service.app import create_app
from service.settings import Settings

schemathesis: Any = pytest.importorskip("schemathesis")

pytestmark = pytest.mark.e2e

WAIT_S = 20.0
# A request that takes longer hangs.
PATIENCE_S = 5.0
EXAMPLES = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)
MANY = settings(EXAMPLES, max_examples=2600)


@pytest.fixture(scope="module")
def address(
    write_bundle: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Where the service answers."""
    folder = tmp_path_factory.mktemp("fuzz")
    write_bundle(folder, 40, name="films", positive_threshold=4.0)
    with pytest.MonkeyPatch.context() as patch:
        for variable in os.environ:
            if variable.upper().startswith("FOLDIN_"):
                patch.delenv(variable)
        app = create_app(Settings(model_dir=folder, device="cpu", threads=1, max_k=100))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, ws="none"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        base_url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        give_up_at = time.monotonic() + WAIT_S
        while httpx.get(f"{base_url}/readyz").status_code != httpx.codes.OK:
            assert time.monotonic() < give_up_at
            time.sleep(0.02)
        yield base_url
        server.should_exit = True
        thread.join(WAIT_S)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def cases(address: str) -> dict[str, st.SearchStrategy[Any]]:
    """Strategies of requests: as the document wants them, and not quite so."""
    schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
    modes = schemathesis.GenerationMode
    return {
        "right": schema.as_strategy(generation_mode=modes.POSITIVE),
        "wrong": schema.as_strategy(generation_mode=modes.NEGATIVE),
    }


# What the parser of the server takes; beyond it there is no request that a document could describe.
LONGEST_ADDRESS = 65_535


def try_out(case: Any, address: str) -> None:  # noqa: ANN401 - of a package that may be missing
    checks = schemathesis.checks
    answer = case.call(base_url=address, timeout=PATIENCE_S)
    if answer.status_code == 400 and len(answer.request.url or "") > LONGEST_ADDRESS:
        return  # refused by the HTTP parser, before it is a request of ours
    case.validate_response(
        answer,
        checks=[
            checks.not_a_server_error,
            checks.status_code_conformance,
            checks.content_type_conformance,
            checks.response_schema_conformance,
        ],
    )


@pytest.mark.parametrize("kind", ["right", "wrong"])
def test_requests_from_the_document_are_answered_as_the_document_says(
    address: str, cases: dict[str, st.SearchStrategy[Any]], kind: str
) -> None:
    EXAMPLES(given(cases[kind])(lambda case: try_out(case, address)))()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["right", "wrong"])
def test_thousands_of_requests_are_answered_as_the_document_says(
    address: str, cases: dict[str, st.SearchStrategy[Any]], kind: str
) -> None:
    MANY(given(cases[kind])(lambda case: try_out(case, address)))()
