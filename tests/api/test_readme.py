"""The request that the README shows is run, and the answer has the fields that it shows."""

import json
import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import httpx
import numpy as np

from service.catalog import Catalog

Running = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]
README = Path(__file__).parents[2] / "README.md"
NUM_ITEMS = 1500


def shape(value: object) -> object:
    """Keep keys and the kinds of values, of lists the kinds of their entries."""
    if isinstance(value, dict):
        return {key: shape(own) for key, own in value.items()}
    if isinstance(value, list):
        return sorted({json.dumps(shape(own), sort_keys=True) for own in value})
    return type(value).__name__


async def test_the_request_of_the_readme_gets_an_answer_of_that_shape(
    running: Running, write_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    request, answer = re.findall(
        r"```(?:json)?\n(.*?)```", README.read_text().partition("## Ask")[2], re.DOTALL
    )[:2]
    found = re.search(r"127\.0\.0\.1:8000(\S+) -H '(\S+): (\S+)'.*-d '(.*?)'", request, re.DOTALL)
    assert found
    path, header, media_type, body = found.groups()
    ids = tuple(str(index) for index in range(NUM_ITEMS))
    titles = tuple(f"Film {index}" for index in range(NUM_ITEMS))
    catalog = Catalog(ids, titles, ((),) * NUM_ITEMS, np.ones(NUM_ITEMS, dtype=np.int64))
    write_bundle(tmp_path, catalog)
    async with running(model_dir=tmp_path) as client:
        given = await client.post(path, content=body.encode(), headers={header: media_type})
    assert given.status_code == 200
    assert shape(given.json()) == shape(json.loads(answer))
    assert len(given.json()["items"]) == json.loads(body)["k"]
