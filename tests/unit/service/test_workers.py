"""What the parent of several workers loads, when it may fork, and how one worker ends."""

import gc
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fastapi import FastAPI
from prometheus_client import values

from service import workers
from service.errors import ReloadRefusedError, SettingsError
from service.lineup import Lineup
from service.server import ENDING_SIGNALS
from service.settings import Settings
from service.supervisor import CANNOT_START

ROOT = Path(__file__).parents[3]
needs_proc = pytest.mark.skipif(
    not workers.THREADS_OF_THIS_PROCESS.exists(), reason="workers are forked on Linux only"
)


@pytest.fixture(autouse=True)
def process_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(values, "ValueClass", values.ValueClass)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")
    monkeypatch.setattr("service.workers.configure_logging", lambda *_: None)
    threads = torch.get_num_threads()
    before = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    torch.set_num_threads(threads)
    gc.unfreeze()


@pytest.fixture
def settings(tiny_bundle: Callable[..., Path]) -> Settings:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return Settings(model_dir=tiny_bundle(), port=port, workers=2, threads=1, device="cpu")


def terminate_when_ready(port: int, seen: list[int]) -> None:
    for _ in range(600):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
                seen.append(answer.status)
                break
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture
def caller(settings: Settings) -> Iterator[list[int]]:
    """Ends this process as a signal would, once it is ready: the statuses that it saw."""
    seen: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: None)  # were the server not to start
    thread = threading.Thread(target=terminate_when_ready, args=(settings.port, seen))
    thread.start()
    yield seen
    thread.join()


@needs_proc
def test_the_parent_loads_the_model_with_one_thread_before_it_forks(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What ran in this process before has left threads of its own.
    monkeypatch.setattr(workers, "_fork_would_lose_threads", lambda: False)
    app = workers._app_to_fork(settings, tmp_path, Lineup.of(settings))
    assert isinstance(app, FastAPI)
    assert torch.get_num_threads() == 1
    assert gc.get_freeze_count() > 0


@needs_proc
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_running_thread_forbids_the_fork(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    assert workers._app_to_fork(settings, tmp_path, Lineup.of(settings)) is None
    done.set()
    thread.join()
    assert "each worker loads a model of its own" in caplog.text


@needs_proc
def test_threads_that_end_before_a_fork_do_not_forbid_it() -> None:
    program = (
        "import numpy, service.workers as w\n"
        "a = numpy.ones((500, 500)); a @ a\n"
        "print(w._fork_would_lose_threads())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "False"


def test_cuda_forbids_the_fork(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "pick_device", lambda _: torch.device("cuda"))
    assert workers._app_to_fork(settings, tmp_path, Lineup.of(settings)) is None


@needs_proc
async def test_a_worker_serves_the_models_of_its_parent_whatever_the_folder_holds_by_then(
    write_bundle: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models_dir, failures = tmp_path / "models", list[BaseException]()
    for name in "gone", "stays":
        write_bundle(models_dir / name, 30)
    monkeypatch.setattr(workers, "_fork_would_lose_threads", lambda: False)
    monkeypatch.setattr(workers, "_exit_for_good", failures.append)
    chosen: dict[str, Any] = {"default_model": "gone", "split": "gone=1,stays=1", "shadow": "gone"}
    settings = Settings(models_dir=models_dir, workers=2, threads=1, device="cpu", **chosen)
    lineup = replace(Lineup.of(settings), agreements=tmp_path / "agreements")
    app = workers._app_to_fork(settings, tmp_path, lineup)
    assert app is not None

    shutil.rmtree(models_dir / "gone")
    write_bundle(models_dir / "added", 20)
    async with app.router.lifespan_context(app):
        assert failures == []
        ready = app.state.service.ready
        assert [served.name for served in ready.fleet.models] == ["gone", "stays"]
        for reloader in ready.reloaders:
            served = reloader.deployment.current
            assert ready.reloader(served.name) is reloader
            assert reloader.workers() == {served.version: 1}
        write_bundle(models_dir / "stays", 30, seed=1)
        assert await ready.reloader("stays").reload() == "swapped"
        with pytest.raises(ReloadRefusedError, match="CheckpointMissingError"):
            await ready.reloader("gone").reload()


def test_workers_that_cannot_be_forked_are_spawned_and_end_with_their_parent(
    settings: Settings, caller: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_app_to_fork", lambda *_: None)
    with pytest.raises(SystemExit) as ended:
        workers.serve_with_workers(settings)
    assert ended.value.code == 0
    assert caller == [200]


def test_a_worker_serves_until_a_signal(
    settings: Settings, caller: list[int], tmp_path: Path
) -> None:
    with (
        workers._bound(settings.host, settings.port) as listener,
        pytest.raises(SystemExit) as ended,
    ):
        workers.work(settings, listener, tmp_path, Lineup.of(settings), None)
    assert ended.value.code == 0
    assert caller == [200]


def test_a_worker_that_cannot_load_says_so_with_its_exit_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def end(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr("os._exit", end)
    with pytest.raises(SystemExit) as ended:
        workers._exit_for_good(SettingsError("x"))
    assert ended.value.code == CANNOT_START


def test_a_port_in_use_is_a_wrong_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"cannot listen on 127.0.0.1:{port}"):
            workers._bound("127.0.0.1", port)


def test_without_a_temporary_folder_the_reason_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: str) -> None:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr("tempfile.TemporaryDirectory", refuse)
    with pytest.raises(SettingsError, match="temporary"), workers._metrics_folder():
        pass


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def old_folder(temporary: Path, name: str) -> Path:
    folder = temporary / name
    (folder / "agreement").mkdir(parents=True)
    os.utime(folder, (0, 0))
    return folder


@needs_proc
def test_folders_of_services_that_were_killed_are_removed_by_the_next(temporary: Path) -> None:
    start = "import service.workers as w, os; m = w._metrics_folder(); m.__enter__(); os._exit(9)"
    command = [sys.executable, "-c", start]
    environment = os.environ | {"TMPDIR": str(temporary)}
    assert subprocess.run(command, check=False, cwd=ROOT, env=environment).returncode == 9
    (left,) = temporary.glob("foldin-metrics-*")
    with workers._metrics_folder():
        assert left.exists()  # it may belong to one that starts now
    os.utime(left, (0, 0))
    with workers._metrics_folder() as folder:
        assert list(temporary.iterdir()) == [folder]
    assert list(temporary.iterdir()) == []


@needs_proc
def test_the_folder_of_a_service_that_runs_stays(temporary: Path) -> None:
    with workers._metrics_folder() as first:
        os.utime(first, (0, 0))
        with workers._metrics_folder() as second:
            assert sorted(temporary.iterdir()) == sorted([first, second])


@needs_proc
def test_what_is_no_folder_of_ours_stays(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = old_folder(temporary, "something-else")
    link = temporary / "foldin-metrics-link"
    link.symlink_to(other)
    os.utime(link, (0, 0), follow_symlinks=False)
    with workers._metrics_folder():
        assert link.is_symlink()
        assert (other / "agreement").exists()
    mine = old_folder(temporary, "foldin-metrics-mine")
    nobody = os.getuid() + 1
    monkeypatch.setattr("os.getuid", lambda: nobody)
    with workers._metrics_folder():
        assert mine.exists()


@needs_proc
def test_a_folder_that_goes_while_it_is_looked_at_is_no_failure(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = temporary / "foldin-metrics-gone"
    monkeypatch.setattr("pathlib.Path.glob", lambda *_: iter([gone]))
    with workers._metrics_folder() as folder:
        assert folder.exists()


def test_a_worker_ends_when_its_parent_has(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        def join(self) -> None:
            pass

    seen: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: seen.append(number))
    monkeypatch.setattr("multiprocessing.parent_process", Gone)
    workers._end_with_parent()
    assert seen == [signal.SIGTERM]


def test_windows_keeps_to_one_worker(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "win32")
    with pytest.raises(SettingsError, match="Windows"):
        workers.serve_with_workers(settings)
