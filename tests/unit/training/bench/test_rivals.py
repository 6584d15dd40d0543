"""The two services that ours is measured against answer as they should."""

import socket
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from typer import Typer
from typer.testing import CliRunner

from service.histories import HistoryBatch
from service.ranker import ModelRanker
from service.retrieval.base import Wanted
from training.bench import rivals
from training.bench.subject import Subject, Users, drawn_histories


def client_of(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


async def test_the_naive_service_finds_the_items_that_ours_does(subject: Subject) -> None:
    (row,) = drawn_histories(subject.loaded, Users(1, 20))
    ids = subject.loaded.catalog.item_ids
    body = {"history": [ids[i] for i in row.item_index_N] + ["unknown"], "k": 7}
    async with client_of(rivals.naive_app(subject.path, threads=1)) as client:
        answer = await client.post("/recommend", json=body)
        assert (await client.get("/readyz")).json() == {"status": "ready"}
    ranker = ModelRanker(subject.loaded.model)
    (top,) = ranker.top_k(HistoryBatch.from_rows([row]), [Wanted(7, row.item_index_N)])
    found = [item["item_id"] for item in answer.json()["items"]]
    assert set(found) == {ids[i] for i in top.item_index_K}


async def test_the_ceiling_validates_and_answers_the_same_bytes() -> None:
    async with client_of(rivals.ceiling_app(b'{"items":[]}')) as client:
        answer = await client.post("/recommend", json={"history": ["1", {"item_id": "2"}]})
        assert answer.content == b'{"items":[]}'
        assert answer.headers["content-type"] == "application/json"
        assert (await client.post("/recommend", json={"history": "1"})).status_code == 422


def test_the_command_serves_the_chosen_rival(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[tuple[FastAPI, str]] = []

    def serve(make: Callable[[], FastAPI], listener: socket.socket, log_level: str) -> None:
        listener.close()
        served.append((make(), log_level))

    monkeypatch.setattr(rivals, "serve", serve)
    (tmp_path / "answer.json").write_bytes(b"{}")
    app = Typer()
    app.command()(rivals.main)
    options = ["--port", "0", "--log-level", "error"]
    done = CliRunner().invoke(app, ["ceiling", str(tmp_path / "answer.json"), *options])
    assert done.exit_code == 0, done.output
    ((made, log_level),) = served
    assert made.url_path_for("recommend") == "/recommend"
    assert log_level == "error"


def test_a_rival_runs_with_the_settings_of_our_server(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[uvicorn.Config] = []

    def run(server: uvicorn.Server, sockets: list[socket.socket]) -> None:
        sockets[0].close()
        started.append(server.config)

    monkeypatch.setattr(uvicorn.Server, "run", run)
    rivals.serve(lambda: rivals.ceiling_app(b""), socket.socket(), "warning")
    (config,) = started
    assert (config.http, config.loop, config.access_log) == ("httptools", "uvloop", False)
