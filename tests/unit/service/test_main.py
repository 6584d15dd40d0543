"""``python -m service``: what becomes an exit code, and which one."""

import logging
import os
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from prometheus_client import values

from service import __main__ as server
from service.errors import CanaryMismatchError, SettingsError
from service.server import ENDING_SIGNALS
from service.settings import PREFIX, Settings


@pytest.fixture(autouse=True)
def process_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The environment, the loggers and the signals of this process, put back afterwards."""
    bare = {key: value for key, value in os.environ.items() if not key.startswith(PREFIX)}
    monkeypatch.setattr("os.environ", bare)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    for handler in handlers:
        root.removeHandler(handler)
    monkeypatch.setattr(values, "ValueClass", values.ValueClass)
    threads = torch.get_num_threads()
    before = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
    yield
    for number, as_it_was in before.items():
        signal.signal(number, as_it_was)
    torch.set_num_threads(threads)
    for handler in list(root.handlers):
        root.removeHandler(handler)
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)


def terminate_when_ready(port: int, seen: list[int]) -> None:
    for _ in range(600):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
                seen.append(answer.status)
                break
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_ends_a_ready_server_with_status_zero(
    tiny_bundle: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    seen: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: None)  # were the server not to start
    caller = threading.Thread(target=terminate_when_ready, args=(port, seen))
    caller.start()
    with pytest.raises(SystemExit) as ended:
        server.serve(Settings(model_dir=tiny_bundle(), port=port, device="cpu"))
    caller.join()
    assert ended.value.code == 0
    assert seen == [200]
    assert '"message":"ready"' in capsys.readouterr().err


def test_a_wrong_setting_is_exit_code_two(capsys: pytest.CaptureFixture[str]) -> None:
    os.environ["FOLDIN_PORT"] = "x"
    with pytest.raises(SystemExit) as ended:
        server.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("foldin: SettingsError: FOLDIN_PORT: ")


def test_no_bundle_is_one_line_and_exit_code_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.environ["FOLDIN_MODEL_DIR"] = str(tmp_path)
    with pytest.raises(SystemExit) as ended:
        server.main()
    assert ended.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("foldin: CheckpointMissingError: ")


def test_a_port_in_use_is_a_wrong_setting(tiny_bundle: Callable[..., Path]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"cannot listen on 127.0.0.1:{port}"):
            server.serve(Settings(model_dir=tiny_bundle(), port=port, device="cpu"))


def test_unavailable_items_that_cannot_be_read_are_a_wrong_setting(
    tiny_bundle: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "unavailable.txt"
    path.write_bytes(b"\xffi1")
    os.environ |= {
        "FOLDIN_MODEL_DIR": str(tiny_bundle()),
        "FOLDIN_UNAVAILABLE_FILE": str(path),
        "FOLDIN_WORKERS": "2",
    }
    with pytest.raises(SystemExit) as ended:
        server.main()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("foldin: SettingsError: FOLDIN_UNAVAILABLE_FILE: 'utf-8' codec")


def test_several_workers_are_not_started_on_a_bad_bundle(tiny_bundle: Callable[..., Path]) -> None:
    bad = tiny_bundle(canary_error=1.0)
    with pytest.raises(CanaryMismatchError):
        server.serve(Settings(model_dir=bad, workers=2, device="cpu", port=0))


def test_a_model_that_cannot_be_loaded_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def end(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr("os._exit", end)
    with pytest.raises(SystemExit) as ended:
        server._exit_unready(SettingsError("x"))
    assert ended.value.code == 1
