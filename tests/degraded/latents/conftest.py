"""The real service on a tiny model, with a real Redis that something happens to."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from service.app import create_app
from service.settings import Settings

Running = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]
NUM_ITEMS = 40


@pytest.fixture(scope="session")
def model_dir(write_bundle: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory with a tiny random Mult-VAE over the items i0 to i39."""
    path = tmp_path_factory.mktemp("models")
    write_bundle(path, NUM_ITEMS)
    return path


@pytest.fixture
def settings(model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settings]:
    """Make settings for the tiny model, whatever the environment says."""
    for variable in os.environ:
        if variable.upper().startswith("FOLDIN_"):
            monkeypatch.delenv(variable)

    def make(**chosen: Any) -> Settings:  # noqa: ANN401 - as Settings takes them
        defaults: dict[str, Any] = {"model_dir": model_dir, "device": "cpu", "threads": 1}
        return Settings(**defaults | {"deadline_ms": 60_000} | chosen)

    return make


@pytest.fixture
def running(settings: Callable[..., Settings]) -> Running:
    """Run the service: ``async with running(redis_url=url) as client``."""

    @asynccontextmanager
    async def run(**chosen: Any) -> AsyncIterator[httpx.AsyncClient]:  # noqa: ANN401 - as settings
        app = create_app(settings(**chosen))
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://foldin.test") as client,
        ):
            for _ in range(4000):
                if (await client.get("/readyz")).status_code == httpx.codes.OK:
                    break
                await asyncio.sleep(0.005)
            yield client

    return run


class Proxy:
    """Stands before a server; passes bytes on late, or answers with nonsense itself."""

    def __init__(self, port: int, delay: Callable[[], float] | None = None) -> None:
        self._behind = port
        self._delay = delay
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()
        self.nonsense = b""

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for talk in self._talks:
            talk.cancel()
        if self._talks:
            await asyncio.wait(self._talks)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        task.add_done_callback(self._talks.discard)
        writers = [writer]
        directions: list[asyncio.Task[None]] = []
        try:
            behind, to_behind = await asyncio.open_connection("127.0.0.1", self._behind)
            writers.append(to_behind)
            directions.append(asyncio.create_task(self._pass_on(reader, to_behind, writer)))
            directions.append(asyncio.create_task(self._pass_on(behind, writer, None)))
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        except (OSError, asyncio.CancelledError):
            pass  # nobody is behind, or the proxy is closed
        finally:
            for direction in directions:
                direction.cancel()
            for each in writers:
                each.transport.abort()
            await asyncio.sleep(0)  # they close in the loop's next turn

    async def _pass_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        asker: asyncio.StreamWriter | None,
    ) -> None:
        try:
            while data := await reader.read(65536):
                if asker is not None and self.nonsense:
                    asker.write(self.nonsense)
                    continue
                if asker is None and self._delay is not None:
                    await asyncio.sleep(self._delay())
                writer.write(data)
                await writer.drain()
        except OSError:
            pass  # the other side has gone


@pytest.fixture
def proxy_before() -> type[Proxy]:
    """A TCP proxy: ``async with proxy_before(port, delay) as proxy``."""
    return Proxy
