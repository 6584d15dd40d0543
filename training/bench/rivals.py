"""The two services that ours is measured against, each as short as it can be written.

``naive`` is what tutorials teach: a sync handler, pydantic both ways, a dense multi-hot row, a
float32 product over the catalogue. ``ceiling`` is what FastAPI costs before anything is
recommended: the fields of our request are validated, and an answer of the same size is sent that
was made beforehand; nothing is serialised. Both run as ours does: uvicorn with uvloop and
httptools, several workers on one socket.
"""

import multiprocessing
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Annotated, Final, Literal, NoReturn

import torch
import typer
import uvicorn
from fastapi import FastAPI, Response
from pydantic import BaseModel

from service import checkpoint
from training.bench.dense_vae import DenseVAE

HOST: Final = "127.0.0.1"
BACKLOG: Final = 2048  # uvicorn's own default


class HistoryObject(BaseModel):
    """One interaction with what is known about it."""

    item_id: str
    rating: float | None = None
    weight: float = 1.0


class RecommendRequest(BaseModel):
    """The fields that our ``POST /recommend`` takes, as anybody would write them down."""

    history: list[str | HistoryObject] | None = None
    user_id: str | None = None
    k: int = 20
    exclude_items: list[str] = []
    exclude_seen: bool = True
    on_unknown: Literal["ignore", "error"] = "ignore"
    fallback: bool = True
    model: str | None = None


class NaiveRequest(BaseModel):
    """What the tutorial service takes."""

    history: list[str]
    k: int = 20


class NaiveItem(BaseModel):
    """One recommended item."""

    item_id: str
    score: float


class NaiveAnswer(BaseModel):
    """What the tutorial service answers."""

    items: list[NaiveItem]


def naive_app(bundle: Path, threads: int) -> FastAPI:
    """Make the tutorial service of a bundle."""
    torch.set_num_threads(threads)
    loaded = checkpoint.load(bundle)
    model = DenseVAE.of(loaded.model).eval()
    item_ids, index_of = loaded.catalog.item_ids, loaded.catalog.index_of
    app = FastAPI()

    @app.post("/recommend")  # the annotation is the response model
    def recommend(request: NaiveRequest) -> NaiveAnswer:
        seen = [index_of[item_id] for item_id in request.history if item_id in index_of]
        row_BI = torch.zeros(1, len(item_ids))
        row_BI[0, seen] = 1.0
        with torch.no_grad():
            score_BI = model(row_BI)
        score_BI[0, seen] = -torch.inf
        scores, indices = score_BI[0].topk(request.k)
        pairs = zip(indices.tolist(), scores.tolist(), strict=True)
        return NaiveAnswer(
            items=[NaiveItem(item_id=item_ids[index], score=score) for index, score in pairs]
        )

    app.get("/readyz")(_ready)
    return app


def ceiling_app(answer: bytes) -> FastAPI:
    """Make the service that validates a request and answers a constant."""
    app = FastAPI()

    @app.post("/recommend")
    async def recommend(request: RecommendRequest) -> Response:
        del request
        return Response(answer, media_type="application/json")

    app.get("/readyz")(_ready)
    return app


def main(
    kind: Annotated[str, typer.Argument(help="naive or ceiling.")],
    source: Annotated[Path, typer.Argument(help="The bundle, or the file with the answer.")],
    *,
    port: Annotated[int, typer.Option()],
    workers: Annotated[int, typer.Option(min=1)] = 1,
    threads: Annotated[int, typer.Option(min=1)] = 1,
    log_level: Annotated[str, typer.Option()] = "warning",
) -> None:
    """Run a rival until a signal."""
    makers: dict[str, Callable[[], FastAPI]] = {
        "naive": partial(naive_app, source, threads),
        "ceiling": partial(_ceiling_of, source),
    }
    listener = socket.create_server((HOST, port), backlog=BACKLOG)
    if workers == 1:
        serve(makers[kind], listener, log_level)
        return
    # Started afresh, not forked: torch's threads do not survive a fork.
    spawn = multiprocessing.get_context("spawn")
    processes = [
        spawn.Process(target=serve, args=(makers[kind], listener, log_level))
        for _ in range(workers)
    ]
    for process in processes:
        process.start()

    def end(number: int, frame: FrameType | None) -> NoReturn:
        del number, frame
        for process in processes:
            process.terminate()
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
    for process in processes:
        process.join()


def serve(make: Callable[[], FastAPI], listener: socket.socket, log_level: str) -> None:
    """Serve an app on a socket that listens, with the settings that our service has."""
    config = uvicorn.Config(
        make(),
        loop="uvloop" if sys.platform != "win32" else "asyncio",
        http="httptools",
        ws="none",
        log_level=log_level,
        access_log=log_level in {"debug", "info"},
        server_header=False,
        proxy_headers=False,
    )
    uvicorn.Server(config).run(sockets=[listener])


def _ceiling_of(source: Path) -> FastAPI:
    return ceiling_app(source.read_bytes())


def _ready() -> dict[str, str]:
    return {"status": "ready"}


if __name__ == "__main__":
    typer.run(main)
