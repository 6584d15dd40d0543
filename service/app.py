"""The composition root: settings in, an app out, with everything opened and closed by it."""

import asyncio
import gc
import logging
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, final

import torch
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from service.agreement import Agreement
from service.api import batch, documentation, exchange, items, openapi, probes, routes, users
from service.api.hot_path import HotPath
from service.api.middleware import RequestLog
from service.api.pages import pages
from service.api.problems import on_error
from service.api.security import AccessKeys
from service.api.state import HttpLimits, Ready, ServiceState
from service.api.validation import on_wrong_parameters
from service.availability import availability_of
from service.deployment import Deployment, Loader
from service.device import pick_device
from service.errors import FoldinError
from service.inference.batcher import Batcher
from service.latents.circuit_breaker import State
from service.latents.memory_store import MemoryStore
from service.latents.redis_store import RedisStore
from service.latents.stand_in import StandIn
from service.latents.store import LatentStore
from service.latents.write_behind import WriteBehind
from service.model_folder import bundle_at
from service.recommender import Limits, Recommender
from service.reloader import Reloader, on_own_thread
from service.server import on_reload_signal
from service.settings import Settings, digests_of
from service.telemetry import Telemetry

logger = logging.getLogger(__name__)

PLAYGROUND: Final = Path(__file__).parent / "playground"
# Of the HTTP interface, not of the package: rises when a client would have to change.
API_VERSION: Final = "1"
# Users whose latents wait to be written while Redis is slow; about 2 kB each.
MAX_PENDING_WRITES: Final = 1_000
# As the metric numbers them.
BREAKER_STATES: Final[tuple[State, ...]] = ("closed", "half-open", "open")
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
    deployment: Deployment | None
    agreement: Agreement | None


def create_app(
    settings: Settings,
    on_failure: Failure | None = None,
    telemetry: Telemetry | None = None,
    deployment: Deployment | None = None,
    agreement: Agreement | None = None,
) -> FastAPI:
    """Put the service together. Nothing is opened before the app's lifespan begins.

    The model is loaded in the background, so that ``/livez`` answers meanwhile; ``/readyz`` says
    when it is there. One of several workers has it first, and answers nothing before.

    Args:
        settings: What the operator chose.
        on_failure: Called with the error when the model cannot be loaded. Without it the app
            logs the error and stays unready.
        telemetry: Counts and times; one of the app's own without it.
        deployment: The model, loaded before.
        agreement: With the other workers of the service, where there are any.

    Raises:
        SettingsError: The chosen device is not there.
    """
    telemetry = telemetry or Telemetry()
    state = ServiceState(_http_limits(settings), telemetry, _access_keys(settings))
    beginning = _Beginning(pick_device(settings.device), deployment, agreement)
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
    for part in (routes, batch, users, items, exchange, probes, documentation):
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
    deployment = beginning.deployment or await _open_deployment(settings, state, beginning)
    deployment.announce()
    reloader = _reloader(settings, state, beginning, deployment)
    await reloader.join()
    store = _open_store(settings, state.telemetry)
    stack.push_async_callback(store.close)
    batcher = _start_batcher(settings, state.telemetry)
    stack.push_async_callback(batcher.close)
    if settings.workers > 1:  # whose gauges cannot be asked for when they are shown
        stack.callback(asyncio.create_task(_report_queue(batcher, state.telemetry)).cancel)
    limits = Limits(settings.max_history, settings.max_k)
    hidden = availability_of(settings.unavailable_file)
    recommender = Recommender(deployment, batcher, store, state.telemetry, limits, hidden)
    # What is loaded stays; to walk through it all again and again takes a tenth of the requests.
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    state.ready = Ready(deployment, recommender, reloader)
    stack.callback(asyncio.create_task(reloader.run(asked, settings.reload_poll_s)).cancel)
    _tell_ready(settings, beginning.device, recommender, time.monotonic() - started_s)


async def _open_deployment(
    settings: Settings, state: ServiceState, beginning: _Beginning
) -> Deployment:
    path = settings.model_dir
    choice = beginning.agreement and beginning.agreement.choice()
    if choice:  # CURRENT may name a bundle that the others have refused by now
        path = bundle_at(path, choice.current)
    threads = settings.threads_per_worker
    device, telemetry = beginning.device, state.telemetry
    return await on_own_thread(
        lambda: Deployment.open(path, device, telemetry, settings.retrieval, threads)
    )


def _reloader(
    settings: Settings, state: ServiceState, beginning: _Beginning, deployment: Deployment
) -> Reloader:
    loader = Loader(
        beginning.device, state.telemetry, settings.retrieval, settings.threads_per_worker
    )
    return Reloader(
        deployment, settings.model_dir, loader.load, state.telemetry, beginning.agreement
    )


def _tell_ready(
    settings: Settings, device: torch.device, recommender: Recommender, seconds: float
) -> None:
    served = recommender.deployment.served(None)
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


def _open_store(settings: Settings, telemetry: Telemetry) -> LatentStore:
    if settings.redis_url is None:
        return MemoryStore(settings.latent_capacity, settings.latent_ttl_s, time.monotonic)
    redis = RedisStore(settings.redis_url, settings.redis_timeout_ms / 1000, settings.latent_ttl_s)
    local = MemoryStore(settings.latent_capacity, settings.latent_ttl_s, time.monotonic)

    def count(outcome: str) -> None:
        telemetry.cache.labels(outcome).inc()

    def show(operation: str, state: State) -> None:
        telemetry.store_breaker.labels(operation).set(BREAKER_STATES.index(state))

    store = StandIn(redis, local, time.monotonic, show)
    return WriteBehind(store, MAX_PENDING_WRITES, count)


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
