"""Log lines are one line each, for machines or for people; metrics of two apps do not mix."""

import json
import logging
import multiprocessing
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client import values

from service.telemetry import (
    ConsoleFormatter,
    JsonFormatter,
    Telemetry,
    configure_logging,
    forget_process,
)


@pytest.fixture
def untouched_root() -> Iterator[logging.Logger]:
    """The root logger, put back as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    for handler in handlers:  # out of the way of configure_logging, which closes what it finds
        root.removeHandler(handler)
    yield root
    for handler in list(root.handlers):
        root.removeHandler(handler)
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)


def record_of(message: str, *args: object, **extra: object) -> logging.LogRecord:
    record = logging.LogRecord("service.x", logging.WARNING, __file__, 1, message, args, None)
    record.__dict__.update(extra)
    return record


def test_a_json_line_holds_the_message_and_the_fields() -> None:
    text = JsonFormatter().format(record_of("slow %s", "store", fields={"seconds": 0.5}))
    line = json.loads(text)
    assert line["time"].endswith("+00:00")
    assert {key: line[key] for key in line if key != "time"} == {
        "level": "warning",
        "logger": "service.x",
        "message": "slow store",
        "seconds": 0.5,
    }


def test_a_value_that_is_no_json_is_written_as_text() -> None:
    text = JsonFormatter().format(record_of("x", fields={"path": {1}}))
    assert json.loads(text)["path"] == "{1}"


def test_a_name_that_is_not_utf8_is_written_as_far_as_it_can_be() -> None:
    name = os.fsdecode(b"caf\xe9 \xc3\xa9")
    text = JsonFormatter().format(record_of("no %s", name, fields={"path": Path(name), "é": name}))
    assert json.loads(text.encode())["message"] == "no caf? é"
    assert json.loads(text)["path"] == json.loads(text)["é"] == "caf? é"


@pytest.mark.parametrize("formatter", [JsonFormatter(), ConsoleFormatter()])
def test_a_trace_is_written(formatter: logging.Formatter) -> None:
    with pytest.raises(ValueError, match="lost") as caught:
        int("lost")
    trace = (caught.type, caught.value, caught.tb)
    text = formatter.format(record_of("failed", exc_info=trace))
    assert "ValueError" in text
    assert "Traceback" in text
    assert ("\n" in text) == isinstance(formatter, ConsoleFormatter)


def test_a_console_line_is_for_people() -> None:
    text = ConsoleFormatter().format(record_of("request", fields={"status": 200, "route": "/x"}))
    assert text[8:] == " WARNING request status=200 route=/x"
    assert text[2] == text[5] == ":"


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_all_loggers_write_to_stderr_from_the_level_on(
    untouched_root: logging.Logger, capsys: pytest.CaptureFixture[str], log_format: str
) -> None:
    configure_logging("json" if log_format == "json" else "console", "warning")
    logging.getLogger("uvicorn.error").warning("from the server")
    logging.getLogger("service.app").info("too quiet")
    (line,) = capsys.readouterr().err.splitlines()
    assert "from the server" in line
    assert line.startswith("{") == (log_format == "json")
    assert len(untouched_root.handlers) == 1


def test_two_apps_do_not_count_together() -> None:
    one, other = Telemetry(), Telemetry()
    one.cache.labels("hit").inc()
    assert b'foldin_cache_total{outcome="hit"} 1.0' in one.exposition()
    assert b'outcome="hit"' not in other.exposition()


@pytest.fixture
def be(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let this process pass for several by their names; its values go back to memory at the end."""
    monkeypatch.setattr(values, "ValueClass", values.ValueClass)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")

    def take(name: str) -> None:
        monkeypatch.setattr(multiprocessing.current_process(), "name", name)

    return take


def test_processes_that_share_a_folder_show_their_sum(
    be: Callable[[str], None], tmp_path: Path
) -> None:
    be("parent")
    telemetry = Telemetry(tmp_path)
    telemetry.model_info.labels("m", "v", "multvae", "exact").set(1)
    for name in ("worker-0", "worker-1"):
        be(name)
        telemetry.cache.labels("hit").inc(2)
        telemetry.batch_size.observe(7)
        telemetry.queue_rows.set(3)
    shown = telemetry.exposition().decode().splitlines()
    assert 'foldin_cache_total{outcome="hit"} 4.0' in shown
    assert 'foldin_batch_size_bucket{le="8.0"} 2.0' in shown
    assert "foldin_batch_size_sum 14.0" in shown
    assert "foldin_queue_rows 6.0" in shown
    (model,) = [line for line in shown if line.startswith("foldin_model_info{")]
    assert model.endswith(" 1.0")


def test_a_process_that_ended_is_counted_and_its_queue_is_not(
    be: Callable[[str], None], tmp_path: Path
) -> None:
    be("worker-0")
    telemetry = Telemetry(tmp_path)
    telemetry.cache.labels("hit").inc(2)
    telemetry.queue_rows.set(3)
    be("worker-1")
    telemetry.queue_rows.set(1)
    forget_process(tmp_path, "worker-0")
    be("worker-0")  # another one, in its place
    telemetry.cache.labels("hit").inc()
    shown = telemetry.exposition().decode().splitlines()
    assert 'foldin_cache_total{outcome="hit"} 3.0' in shown
    assert "foldin_queue_rows 1.0" in shown
