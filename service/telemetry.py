"""Metrics and logs: what an operator sees of the service.

One ``Telemetry`` an app, with a registry of its own: two apps in one process (as in tests) do
not add up, but for the workers of one service, which share a folder. Label values are route
templates and fixed words, never an id; so are the fields of a log line, which are given as
``logger.info("message", extra={"fields": {...}})``.
"""

import logging
import multiprocessing
import os
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, final

import orjson
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

# 0.1 ms to 10 s: encode and decode take well under a millisecond, a deadline some seconds.
SECONDS_BUCKETS: Final = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10,
)  # fmt: skip
COUNTERS: Final = (
    (
        "foldin_requests",
        "Requests by route template, method and status, failures included.",
        ("route", "method", "status"),
    ),
    (
        "foldin_recommendations",
        "Lists by source (model, popularity) and reason (empty for the model).",
        ("source", "reason"),
    ),
    (
        "foldin_cache",
        "Latent store use by outcome (hit, miss, bypass, error, written, lost).",
        ("outcome",),
    ),
    (
        "foldin_refused",
        "Rows without a list (overloaded, deadline, abandoned).",
        ("reason",),
    ),
    (
        "foldin_retrieved",
        "Rows by what proved their list (certified, widened, recomputed over the catalogue).",
        ("step",),
    ),
)
MODEL_LABELS: Final = ("name", "version", "architecture", "retrieval")
BATCH_BUCKETS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@final
class Telemetry:
    """The counters and histograms of one app.

    Args:
        shared_folder: Where several processes keep their figures, so that each of them can show
            the sum. From then on the whole process keeps its figures there, in files that are
            named after it (``Process.name``): a process that takes the place of another, under
            its name, counts on from there. None: figures of this app alone, in memory.
    """

    def __init__(self, shared_folder: Path | None = None) -> None:
        self._registry = CollectorRegistry()
        self._shared_folder = shared_folder
        if shared_folder is not None:
            _keep_values_in(shared_folder)
        counters = [self._counter(*row) for row in COUNTERS]
        self.requests, self.recommendations, self.cache, self.refused, self.retrieved = counters
        histogram = partial(Histogram, registry=self._registry)
        self.request_seconds = histogram(
            "foldin_request_seconds",
            "From the first byte of a request to the last of its answer, failures included.",
            ("route",),
            buckets=SECONDS_BUCKETS,
        )
        self.stage_seconds = histogram(
            "foldin_stage_seconds",
            "Where the time goes: queue (per row), engine (per batch), store_get, store_put.",
            ("stage",),
            buckets=SECONDS_BUCKETS,
        )
        self.batch_size = histogram("foldin_batch_size", "Rows a batch.", buckets=BATCH_BUCKETS)
        gauge = partial(Gauge, registry=self._registry)
        self.queue_rows = gauge(
            "foldin_queue_rows", "Rows that wait for the engine.", multiprocess_mode="livesum"
        )
        self.model_info = gauge(
            "foldin_model_info",
            "1 for the model that answers.",
            MODEL_LABELS,
            multiprocess_mode="livemax",
        )

    def _counter(self, name: str, meaning: str, labels: tuple[str, ...]) -> Counter:
        return Counter(name, meaning, labels, registry=self._registry)

    def count_retrieved(self, step: str, rows: int) -> None:
        """Count rows by the step of retrieval that settled them."""
        self.retrieved.labels(step).inc(rows)

    def exposition(self) -> bytes:
        """Render all metrics, those of the processes that share a folder added up, as text."""
        if self._shared_folder is None:
            return generate_latest(self._registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry, str(self._shared_folder))  # type: ignore[no-untyped-call]  # it has no types
        return generate_latest(registry)


def forget_process(shared_folder: Path, name: str) -> None:
    """Take the gauges of a process that ended out of the sums; its counts stay."""
    mark_process_dead(name, str(shared_folder))  # type: ignore[no-untyped-call]  # it has no types


def _keep_values_in(shared_folder: Path) -> None:
    # The client library chooses when it is imported, by this variable. By name and not by process
    # id: the files stay as many as the workers however often one is replaced, and asking for the
    # name costs no system call (an increment takes 1.0 us instead of 1.4, in memory 0.35).
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(shared_folder)
    named = values.MultiProcessValue(lambda: multiprocessing.current_process().name)  # type: ignore[no-untyped-call]  # it has no types
    values.ValueClass = named


@final
class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message, the fields, the trace if any."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


@final
class ConsoleFormatter(logging.Formatter):
    """Lines for people: time, level, message, fields; the trace on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one line, and the trace if there is one."""
        local_time = datetime.fromtimestamp(record.created).astimezone()
        fields = "".join(f" {name}={value}" for name, value in _fields(record).items())
        line = f"{local_time:%H:%M:%S} {record.levelname:<7} {record.getMessage()}{fields}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def configure_logging(log_format: Literal["json", "console"], level: str) -> None:
    """Send every logger of the process, the server's too, to stderr in one format.

    Args:
        log_format: ``json`` for machines, ``console`` for people.
        level: Name of the least severe level that is written.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else ConsoleFormatter())
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields: dict[str, Any] = getattr(record, "fields", {})
    return fields
