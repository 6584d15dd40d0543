"""The server as an operator meets it: a process, its signals, its exit codes, its log."""

import asyncio
import json
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.e2e

StartServer = Callable[..., Any]
WAIT_S = 60.0


def stop(process: subprocess.Popen[bytes], number: signal.Signals = signal.SIGTERM) -> int:
    process.send_signal(number)
    return process.wait(WAIT_S)


def test_a_server_starts_answers_and_ends_in_order(server: StartServer) -> None:
    running = server()
    with httpx.Client(base_url=running.url) as client:
        body = {"history": ["i1", "i2"], "user_id": "s3cret", "k": 5}
        answer = client.post("/recommend", json=body)
        assert len(answer.json()["items"]) == 5
        assert client.get("/users/s3cret/recommendations").json()["cache"] == "hit"
        assert client.get("/").headers["content-type"].startswith("text/html")
        dots = client.post("/users/%2E%2E/interactions", json={"events": ["i1"]})
        assert dots.json()["count"] == 1
        assert client.get("/users/%2E%2E/recommendations").json()["cache"] == "hit"
        assert client.delete("/users/%2E%2E").status_code == 204
        assert "server" not in answer.headers
    assert stop(running.process) == 0
    log = running.log.read_text()
    lines = [json.loads(line) for line in log.splitlines()]
    ready = [line for line in lines if line["message"] == "ready"]
    assert [line["model"] for line in ready] == ["tiny"]
    statuses = [line["status"] for line in lines if line["message"] == "request"]
    assert statuses == [200, 200, 200, 200, 200, 204]
    assert "s3cret" not in log


def test_two_workers_share_a_port_and_end_together(server: StartServer) -> None:
    running = server(workers=2, log_format="console")
    answer = httpx.post(f"{running.url}/recommend", json={"history": ["i1"]})
    assert answer.status_code == 200
    assert stop(running.process) == 0
    assert "Traceback" not in running.log.read_text()


def test_a_bundle_that_cannot_be_served_ends_the_process_with_its_name(
    server: StartServer, tmp_path: Path
) -> None:
    running = server(wait=False, model_dir=tmp_path, log_level="warning")
    assert running.process.wait(WAIT_S) == 1
    (line,) = running.log.read_text().splitlines()
    assert "CheckpointMissingError" in line


def test_a_wrong_setting_is_one_line_and_exit_code_two(server: StartServer) -> None:
    running = server(wait=False, max_kk=5)
    assert running.process.wait(WAIT_S) == 2
    (line,) = running.log.read_text().splitlines()
    assert line == (
        "foldin: SettingsError: FOLDIN_MAX_KK is no setting; did you mean FOLDIN_MAX_K?"
    )


def test_a_port_in_use_ends_the_process(server: StartServer) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        running = server(wait=False, port=taken.getsockname()[1])
        assert running.process.wait(WAIT_S) == 2
        (line,) = running.log.read_text().splitlines()
        assert "Address already in use" in line


@pytest.mark.redis
async def test_redis_killed_while_200_requests_run_fails_none_of_them(
    server: StartServer, redis_process: Callable[..., Any]
) -> None:
    redis = redis_process()
    running = await asyncio.to_thread(server, redis_url=redis.url, deadline_ms=60_000)
    gate = asyncio.Semaphore(20)
    answered = 0

    async with httpx.AsyncClient(base_url=running.url, timeout=WAIT_S) as client:

        async def ask(number: int) -> httpx.Response:
            nonlocal answered
            # 25 users: each is asked for, then posts a history, and so on round after round.
            user_id = f"u{number // 2 % 25}"
            async with gate:
                if answered >= 100:
                    redis.kill()
                if number % 2:
                    body = {"history": [f"i{number}"], "user_id": user_id, "k": 5}
                    answer = await client.post("/recommend", json=body)
                else:
                    answer = await client.get(f"/users/{user_id}/recommendations?k=5")
            answered += 1
            return answer

        answers = await asyncio.gather(*(ask(number) for number in range(200)))
        metrics = (await client.get("/metrics")).text
    assert [answer.status_code for answer in answers] == [200] * 200
    assert all(len(answer.json()["items"]) == 5 for answer in answers)
    assert 'foldin_cache_total{outcome="hit"}' in metrics
    assert 'foldin_cache_total{outcome="error"}' in metrics
    assert await asyncio.to_thread(stop, running.process) == 0
