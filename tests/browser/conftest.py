"""A real Chromium before the real service, which has a tiny model with titles."""

import os
import shutil
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import pytest_asyncio
import uvicorn
from playwright.async_api import Browser, ConsoleMessage, Page, Request, async_playwright

from service.app import create_app
from service.catalog import Catalog
from service.settings import Settings

ENDINGS = ("Harbour", "Lantern", "Orchard", "Paper", "River", "Winter")
TITLES = (
    "Amber Island",
    "",  # popular and without a title: its id stands in
    *(f"{color} {ending}" for color in ("Amber", "Blue", "Copper") for ending in ENDINGS),
    "<script>document.title = 'owned'</script><img src=x onerror=alert(1)>",
    "The Surprisingly Long Voyage of the Honourable Bartholomew Featherstonehaugh-Cholmondeley",
    *(f"Silver {ending}: Part {part}" for ending in ENDINGS for part in (1, 2, 3)),
)
WAIT_S = 20.0
CHROMIUM_FLAGS = (
    "--no-sandbox",  # a container's root has none
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

OpenPage = Callable[..., Awaitable[Page]]


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    """Titles whose popularity falls; every third item is a comedy, the others dramas of the sea."""
    return Catalog(
        item_ids=tuple(f"film-{index}" for index in range(len(TITLES))),
        titles=TITLES,
        categories=tuple(
            ("Comedy",) if index % 3 == 0 else ("Drama", "Sea") for index in range(len(TITLES))
        ),
        popularity_I=np.arange(len(TITLES), 0, -1),
    )


@pytest.fixture(scope="session")
def model_dir(
    write_bundle: Callable[..., Path], catalog: Catalog, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A model directory with a random Mult-VAE."""
    path = tmp_path_factory.mktemp("models")
    write_bundle(path, catalog, name="films", positive_threshold=4.0)
    return path


@pytest.fixture(scope="session")
def address(model_dir: Path) -> Iterator[str]:
    """Where the service answers."""
    with serving(model_dir) as base_url:
        yield base_url


@pytest.fixture(scope="session")
def linear_address(
    write_bundle: Callable[..., Path], catalog: Catalog, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Where a model answers that has neither a posterior nor vectors of items."""
    path = tmp_path_factory.mktemp("linear")
    write_bundle(path, catalog, "ease", name="weights")
    with serving(path) as base_url:
        yield base_url


@pytest.fixture(scope="session")
def bare_address(
    write_bundle: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Where the catalogue has neither titles nor categories."""
    path = tmp_path_factory.mktemp("bare")
    write_bundle(path, 20)
    with serving(path) as base_url:
        yield base_url


@pytest.fixture(scope="session")
def several_address(
    write_bundle: Callable[..., Path], catalog: Catalog, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Where several models answer: films by default, others of the same items, one of few."""
    path = tmp_path_factory.mktemp("several")
    shades = replace(catalog, titles=tuple(title.replace("Silver", "Golden") for title in TITLES))
    write_bundle(path / "films", catalog)
    write_bundle(path / "shades", shades, "betavae", seed=1)
    write_bundle(path / "weights", catalog, "ease")
    write_bundle(path / "few", 20)
    with serving(models_dir=path, default_model="films") as base_url:
        yield base_url


@contextmanager
def serving(model_dir: Path | None = None, **chosen: Any) -> Iterator[str]:  # noqa: ANN401 - as Settings takes them
    """Run the service on a thread; gives its address."""
    if model_dir is not None:
        chosen["model_dir"] = model_dir
    with pytest.MonkeyPatch.context() as patch:
        for variable in os.environ:
            if variable.upper().startswith("FOLDIN_"):
                patch.delenv(variable)
        app = create_app(Settings(device="cpu", threads=1, **chosen))
    config = uvicorn.Config(app, log_config=None, access_log=False, ws="none")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        base_url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        try:
            _wait_until_ready(base_url)
            yield base_url
        finally:
            server.should_exit = True
            thread.join(WAIT_S)
    assert not thread.is_alive()


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of the machine's Chromium."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    reason = "no browser: apt-get install chromium"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(chromium: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        yield launched
        await launched.close()


@pytest.fixture
def complaints() -> list[str]:
    """What the browser complained about; a test that provokes a complaint takes it out."""
    return []


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(
    browser: Browser, address: str, complaints: list[str]
) -> AsyncIterator[OpenPage]:
    """Visit a page, the playground by default: ``open_page(viewport=..., color_scheme=..., ...)``.

    ``script`` runs before the page's own; ``path`` names another page, without a slash in front;
    ``at`` is the address of another service.
    What the page's policy forbids is a complaint.
    """
    async with AsyncExitStack() as stack:

        async def visit(
            script: str = "",
            path: str = "",
            at: str = address,
            **options: Any,  # noqa: ANN401 - as new_context takes them
        ) -> Page:
            context = await browser.new_context(**options)
            stack.push_async_callback(context.close)
            await context.add_init_script(script)
            page = await context.new_page()
            page.set_default_timeout(WAIT_S * 1000)
            _listen(page, at, complaints)
            await page.goto(at + path)
            return page

        yield visit
    assert complaints == []


@pytest_asyncio.fixture(loop_scope="session")
async def page(open_page: OpenPage) -> Page:
    """The playground with its first answer."""
    opened = await open_page(viewport={"width": 1280, "height": 800})
    await opened.locator("#results li").first.wait_for()
    return opened


def _listen(page: Page, address: str, complaints: list[str]) -> None:
    def on_console(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            complaints.append(message.text)

    def on_request(request: Request) -> None:
        if not request.url.startswith(address):
            complaints.append(f"a request to {request.url}")

    page.on("console", on_console)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", on_request)


def _wait_until_ready(address: str) -> None:
    give_up_at = time.monotonic() + WAIT_S
    while httpx.get(f"{address}readyz").status_code != httpx.codes.OK:
        if time.monotonic() > give_up_at:
            pytest.fail("the service does not get ready")
        time.sleep(0.02)
