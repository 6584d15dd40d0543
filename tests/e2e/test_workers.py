"""Two workers as an operator meets them: one service, one set of figures, one copy in memory."""

import os
import re
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, which Linux alone has"),
]

StartServer = Callable[..., Any]
WAIT_S = 60.0
# Figures that rise by one a list, whoever gives it.
COUNTED = [
    re.compile(f"^{pattern} (\\S+)$", re.MULTILINE)
    for pattern in (
        r'foldin_requests_total\{.*route="/recommend".*status="200".*\}',
        r'foldin_recommendations_total\{.*source="model".*\}',
        r'foldin_request_seconds_count\{route="/recommend"\}',
        r'foldin_stage_seconds_count\{stage="queue"\}',
        r"foldin_batch_size_sum",
        r'foldin_cache_total\{outcome="bypass"\}',
    )
]


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def pss_kib(pid: int) -> int:
    """What a process holds, its share of what it has in common with others, with its children."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    (pss,) = re.findall(r"^Pss: +(\d+) kB", rollup, re.MULTILINE)
    return int(pss) + sum(pss_kib(child) for child in children(pid))


def ask(url: str, times: int) -> None:
    for number in range(times):  # a connection each: the kernel deals them out
        answer = httpx.post(f"{url}/recommend", json={"history": [f"i{number}"], "k": 5})
        assert len(answer.json()["items"]) == 5


def counted(url: str) -> set[float]:
    """The lists that /metrics tells of, asked often enough to hear of every worker."""
    pages = [httpx.get(f"{url}/metrics").text for _ in range(12)]
    return {float(figure.findall(page)[0]) for page in pages for figure in COUNTED}


def until(condition: Callable[[], object]) -> None:
    give_up_at = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.05)


def is_refused(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) != 0


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that servers take for temporary files; none may be left behind."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    yield folder
    assert not list(folder.iterdir())


def test_requests_are_counted_whichever_worker_answers_and_whichever_dies(
    server: StartServer, temporary: Path
) -> None:
    running = server(workers=2)
    ask(running.url, 40)
    assert counted(running.url) == {40}
    assert list(temporary.iterdir())

    first, second = children(running.process.pid)
    os.kill(first, signal.SIGKILL)
    until(lambda: len({second, *children(running.process.pid)} - {first}) == 2)
    ask(running.url, 20)
    assert counted(running.url) == {60}

    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(WAIT_S) == 0
    log = running.log.read_text()
    assert '"forked":true' in log
    assert log.count("a worker ended and is replaced") == 1
    assert "Traceback" not in log


def test_two_workers_take_little_more_memory_than_one(server: StartServer) -> None:
    held_kib = []
    for workers in (1, 2):
        running = server(workers=workers)
        until(lambda: running.log.read_text().count('"message":"ready"') == workers)  # noqa: B023 - used at once
        ask(running.url, 20)
        held_kib.append(pss_kib(running.process.pid))
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(WAIT_S) == 0
    one, two = held_kib
    assert two <= 1.5 * one


def test_forked_workers_may_have_several_threads_and_end_when_their_parent_is_killed(
    server: StartServer,
) -> None:
    running = server(workers=2, threads=2)
    ask(running.url, 20)
    workers = children(running.process.pid)
    running.process.kill()
    running.process.wait(WAIT_S)
    until(lambda: is_refused(running.port))
    until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))


def test_workers_agree_on_each_of_several_models(
    write_bundle: Callable[..., Path], service_process: StartServer, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    for seed, name in enumerate(["one", "turn"]):
        write_bundle(models / name, 50, seed=seed)
    running = service_process(
        models_dir=models, workers=2, split="one=1,turn=1", shadow="turn", reload_poll_s=0.1
    )

    def versions() -> dict[str, dict[str, int]]:
        cards = httpx.get(f"{running.url}/models").json()["models"]
        return {card["name"]: card["workers"] for card in cards}

    before = versions()
    assert [list(workers.values()) for workers in before.values()] == [[2], [2]]
    variants = {
        user: httpx.post(f"{running.url}/recommend", json={"user_id": user}).json()["variant"]
        for user in [f"u{number}" for number in range(8)] * 3  # by either worker
    }
    assert set(variants.values()) == {"one", "turn"}

    write_bundle(models / "turn", 50, seed=5)
    until(lambda: versions()["turn"] != before["turn"] and set(versions()["turn"].values()) == {2})
    assert versions()["one"] == before["one"]
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(WAIT_S) == 0
    assert "Traceback" not in running.log.read_text()


def test_a_folder_of_models_that_changes_counts_from_the_next_start_of_the_service_on(
    write_bundle: Callable[..., Path], service_process: StartServer, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    for seed, name in enumerate(["first", "second"]):
        write_bundle(models / name, 50, seed=seed)
    running = service_process(models_dir=models, workers=2, split="second=1,first=1")

    def cards() -> dict[str, dict[str, int]]:
        listed = httpx.get(f"{running.url}/models").json()["models"]
        return {card["name"]: card["workers"] for card in listed}

    before = cards()
    shutil.rmtree(models / "second")
    write_bundle(models / "added", 50, seed=2)
    killed, other = children(running.process.pid)
    os.kill(killed, signal.SIGKILL)
    until(lambda: running.log.read_text().count('"message":"ready","model":"second"') == 3)
    assert all(cards() == before for _ in range(12))  # by either worker
    assert other in children(running.process.pid)
    assert "cannot start" not in running.log.read_text()
