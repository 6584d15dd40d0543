"""The composition root: settings in, an app out, with everything opened and closed by it."""

import asyncio
import gc
import logging
import random
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, final

import torch
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from service.api import (
    batch,
    dimensions,
    documentation,
    exchange,
    item_map,
    items,
    models,
    openapi,
    probes,
    routes,
    users,
)
from service.api.hot_path import HotPath
from service.api.middleware import RequestLog
from service.api.pages import pages
from service.api.problems import on_error
from service.api.security import AccessKeys
from service.api.state import HttpLimits, Ready, ServiceState
from service.api.validation import on_wrong_parameters
from service.availability import availability_of
from service.deployment import Loader
from service.device import pick_device
from service.errors import FoldinError
from service.fleet import Fleet
from service.inference.batcher import Batcher
from service.limits import Limits
from service.lineup import Lineup
from service.own_thread import on_own_thread
from service.recommender import Recommender
from service.reloader import Reloader, reload_when
from service.server import on_reload_signal
from service.settings import Settings, digests_of
from service.shadow import Shadow
from service.store_opening import open_store
from service.telemetry import Telemetry

logger = logging.getLogger(__name__)

PLAYGROUND: Final = Path(__file__).parent / "playground"
# Of the HTTP interface, not of the package: rises when a client would have to change.
API_VERSION: Final = "1"
# How old the length of a worker's queue may be when it is shown; scrapes are some 15 s apart.
QUEUE_REPORT_S: Final = 1.0
# How long a busy event loop may keep the engine's thread from going on, and that thread the loop.
# With Python's own 5 ms, on a busy machine under three times its load, half of the refusals took
# 34 ms and more, and with 1 ms 2 to 10. Closed loops of 1 and 16 connections, six rounds each in
# turn, showed no difference: 90 and 91, 428 and 433 requests a second.
SWITCH_INTERVAL_S: Final = 0.001
# New objects before a look for garbage; Python's 700 took a twentieth of the event loop's time.
YOUNG_OBJECTS: Final = 20_000
# FastAPI's own, beside ours: to find out that nobody has set it up takes 4 us a request.
NO_TELEMETRY: Final = {"tracing": False, "metrics": False, "logs": False}

Failure = Callable[[BaseException], None]
Load = Callable[[AsyncExitStack, asyncio.Event], Coroutine[Any, Any, None]]


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Beginning:
    """What there is before anything is loaded: of one of several workers, from its parent."""

    device: torch.device
    lineup: Lineup | None
    fleet: Fleet | None


def create_app(
    settings: Settings,
    on_failure: Failure | None = None,
    telemetry: Telemetry | None = None,
    lineup: Lineup | None = None,
    fleet: Fleet | None = None,
) -> FastAPI:
    """Put the service together. Nothing is opened before the app's lifespan begins.

    The models are loaded in the background, so that ``/livez`` answers meanwhile; ``/readyz`` says
    when they are there. One of several workers has them first, and answers nothing before.

    Args:
        settings: What the operator chose.
        on_failure: Called with the error when a model cannot be loaded. Without it the app
            logs the error and stays unready.
        telemetry: Counts and times; one of the app's own without it.
        lineup: Which models there are; read from the settings without it.
        fleet: The models of the lineup, loaded before.

    Raises:
        SettingsError: The chosen device is not there.
    """
    telemetry = telemetry or Telemetry()
    state = ServiceState(_http_limits(settings), telemetry, _access_keys(settings))
    beginning = _Beginning(pick_device(settings.device), lineup, fleet)
    load = partial(_load, settings, state, beginning)
    app: FastAPI = FastAPIOffline(
        docs_url=None,  # a page of our own; fastapi-offline gives the files that it needs
        redoc_url=None,
        title="Foldin",
        description="Recommendations from autoencoders: post a history, get the best items.",
        version=API_VERSION,
        lifespan=lambda _: _lifespan(settings, state, load, on_failure),
        middleware=_middleware(state),
        telemetry=NO_TELEMETRY,
        redirect_slashes=False,
    )
    app.state.service = state
    _add_routes(app)
    return app


def _add_routes(app: FastAPI) -> None:
    app.add_exception_handler(FoldinError, on_error)
    app.add_exception_handler(HTTPException, on_error)
    app.add_exception_handler(RequestValidationError, on_wrong_parameters)
    questions = (routes, batch, users, items, item_map, models, dimensions)
    for part in (*questions, exchange, probes, documentation):
        app.include_router(part.router)
    app.include_router(pages(PLAYGROUND))
    openapi.complete(app)


def _middleware(state: ServiceState) -> list[Middleware]:
    """Give what stands around the routes, the outermost first."""
    log = Middleware(RequestLog, telemetry=state.telemetry, clock=time.monotonic)
    return [log, Middleware(HotPath, state=state)]


@asynccontextmanager
async def _lifespan(
    settings: Settings,
    state: ServiceState,
    load: Load,
    on_failure: Failure | None,
) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        asked = asyncio.Event()
        stack.enter_context(on_reload_signal(asked.set))
        loading = asyncio.create_task(load(stack, asked))
        loading.add_done_callback(lambda done: _report(done, on_failure))
        if settings.workers > 1:
            # Workers share a port: one that is not ready must take no request that another
            # could answer. It listens when its lifespan has begun.
            await asyncio.wait([loading])
        try:
            yield
        finally:
            state.ready = None
            loading.cancel()
            await asyncio.wait([loading])


async def _load(
    settings: Settings,
    state: ServiceState,
    beginning: _Beginning,
    stack: AsyncExitStack,
    asked: asyncio.Event,
) -> None:
    started_s = time.monotonic()
    torch.set_num_threads(settings.threads_per_worker)
    lineup = beginning.lineup or Lineup.of(settings)
    fleet, reloaders = await _open_fleet(settings, state.telemetry, beginning, lineup)
    store = open_store(settings, state.telemetry)
    stack.push_async_callback(store.close)
    batcher = _start_batcher(settings, state.telemetry)
    stack.push_async_callback(batcher.close)
    if settings.workers > 1:  # whose gauges cannot be asked for when they are shown
        stack.callback(asyncio.create_task(_report_queue(batcher, state.telemetry)).cancel)
    limits = Limits(settings.max_history, settings.max_k)
    hidden = availability_of(settings.unavailable_file)
    recommender = Recommender(fleet, batcher, store, state.telemetry, limits, hidden)
    if lineup.shadows:
        shadow = _shadow(recommender, lineup.shadows, settings.shadow_share)
        stack.push_async_callback(shadow.close)
        recommender = replace(recommender, on_list=shadow.follow)
    _settle()
    state.ready = Ready(fleet, recommender, reloaders, lineup.shadows)
    for task in (
        reload_when(asked, reloaders),
        *(reloader.run(settings.reload_poll_s) for reloader in reloaders),
    ):
        stack.callback(asyncio.create_task(task).cancel)
    _tell_ready(settings, beginning.device, recommender, time.monotonic() - started_s)


async def _open_fleet(
    settings: Settings, telemetry: Telemetry, beginning: _Beginning, lineup: Lineup
) -> tuple[Fleet, tuple[Reloader, ...]]:
    loader = Loader(beginning.device, telemetry, settings.retrieval, settings.threads_per_worker)
    fleet = beginning.fleet
    if fleet is None:
        fleet = await on_own_thread(lambda: lineup.open(loader))
    for deployment in fleet.deployments:
        deployment.announce()
    reloaders = lineup.reloaders(fleet, loader)
    for reloader in reloaders:
        await reloader.join()
    return fleet, reloaders


def _settle() -> None:
    """Spare the event loop looks at what is loaded, and waits for the engine's thread.

    What is loaded stays; to walk through it all again and again takes a tenth of the requests.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)
    sys.setswitchinterval(SWITCH_INTERVAL_S)


def _shadow(recommender: Recommender, models: tuple[str, ...], share: float) -> Shadow:
    draw = random.SystemRandom().random
    return Shadow(recommender, models, share, recommender.telemetry, draw)


def _tell_ready(
    settings: Settings, device: torch.device, recommender: Recommender, seconds: float
) -> None:
    for served in recommender.fleet.models:
        fields = {
            "model": served.name,
            "version": served.version,
            "items": len(served.catalog),
            "device": str(device),
            "threads": settings.threads_per_worker,
            "retrieval": served.retriever_name,
            "recall": served.recall,
            "store": recommender.store.name,
            "seconds": round(seconds, 3),
        }
        logger.info("ready", extra={"fields": fields})


def _report(loading: asyncio.Task[None], on_failure: Failure | None) -> None:
    error = None if loading.cancelled() else loading.exception()
    if error is None:
        return
    trace = None if isinstance(error, FoldinError) else error
    logger.critical("cannot start: %s: %s", type(error).__name__, error, exc_info=trace)
    if on_failure is not None:
        on_failure(error)


def _start_batcher(settings: Settings, telemetry: Telemetry) -> Batcher:
    batcher = Batcher(
        max_batch=settings.max_batch,
        max_queue=settings.max_queue,
        deadline_s=settings.deadline_ms / 1000,
        telemetry=telemetry,
        clock=time.monotonic,
    )
    telemetry.queue_rows.set_function(lambda: batcher.queue_length)
    batcher.start()
    return batcher


async def _report_queue(batcher: Batcher, telemetry: Telemetry) -> None:
    while True:
        telemetry.queue_rows.set(batcher.queue_length)
        await asyncio.sleep(QUEUE_REPORT_S)


def _access_keys(settings: Settings) -> AccessKeys:
    return AccessKeys.of_hex(
        digests_of(settings.api_keys_sha256), digests_of(settings.admin_keys_sha256)
    )


def _http_limits(settings: Settings) -> HttpLimits:
    return HttpLimits(
        max_body_bytes=settings.max_body_bytes,
        max_batch_requests=settings.max_batch_requests,
        max_history=settings.max_history,
        # One batch in the engine, the next one waiting.
        rows_in_flight=min(2 * settings.max_batch, settings.max_queue),
    )
