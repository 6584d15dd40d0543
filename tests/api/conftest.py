"""The real app on a tiny model, spoken to over ASGI without a socket."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from service.app import create_app
from service.catalog import Catalog
from service.settings import Settings

NUM_ITEMS = 40

Running = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


def film_catalog() -> Catalog:
    """Items ``i0`` to ``i39``; the last one has neither title nor categories."""
    return Catalog(
        item_ids=tuple(f"i{index}" for index in range(NUM_ITEMS)),
        titles=(*(f"Film {index} Été" for index in range(NUM_ITEMS - 1)), ""),
        categories=(*(("Drama", f"Shelf {index % 3}") for index in range(NUM_ITEMS - 1)), ()),
        popularity_I=np.arange(NUM_ITEMS)[::-1].copy(),
    )


@pytest.fixture(scope="session")
def model_dir(write_bundle: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory with a tiny random Mult-VAE."""
    path = tmp_path_factory.mktemp("models")
    metrics = {"test": {"ndcg@100": 0.25}}
    write_bundle(path, film_catalog(), name="films", positive_threshold=4.0, metrics=metrics)
    return path


@pytest.fixture(scope="session")
def settings(model_dir: Path) -> Iterator[Callable[..., Settings]]:
    """Make settings for the tiny model, whatever the environment says."""

    def make(**chosen: Any) -> Settings:  # noqa: ANN401 - as Settings takes them
        # No deadline to speak of, and no race of two ways: a busy machine is no failure.
        defaults: dict[str, Any] = {"device": "cpu", "threads": 1, "retrieval": "exact"}
        if "models_dir" not in chosen:
            defaults["model_dir"] = model_dir
        return Settings(**defaults | {"max_k": 100, "deadline_ms": 60_000} | chosen)

    with pytest.MonkeyPatch.context() as environment:
        for variable in os.environ:
            if variable.upper().startswith("FOLDIN_"):
                environment.delenv(variable)
        yield make


@asynccontextmanager
async def client_of(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Talk to an app; what it lets through comes as an exception, where a server would log it."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://foldin.test") as client:
        yield client


async def wait_until_ready(client: httpx.AsyncClient) -> None:
    for _ in range(4000):
        if (await client.get("/readyz")).status_code == httpx.codes.OK:
            return
        await asyncio.sleep(0.005)
    pytest.fail("not ready after 20 s")


@pytest.fixture
def until_ready() -> Callable[[httpx.AsyncClient], Awaitable[None]]:
    return wait_until_ready


@pytest.fixture(scope="session")
def running(settings: Callable[..., Settings]) -> Running:
    """Run the service: ``async with running(max_k=5) as client``."""

    @asynccontextmanager
    async def run(**chosen: Any) -> AsyncIterator[httpx.AsyncClient]:  # noqa: ANN401 - as settings
        app = create_app(settings(**chosen))
        async with app.router.lifespan_context(app), client_of(app) as client:
            await wait_until_ready(client)
            yield client

    return run


@pytest.fixture
async def client(running: Running) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the service with default limits."""
    async with running() as started:
        yield started
