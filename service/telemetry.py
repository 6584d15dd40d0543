"""Metrics and logs: what an operator sees of the service.

One ``Telemetry`` an app, with a registry of its own: two apps in one process (as in tests) do
not add up, but for the workers of one service, which share a folder. Label values are route
templates and fixed words, never an id; so are the fields of a log line, which are given as
``logger.info("message", extra={"fields": {...}})``. Two ids are in the log all the same: that of a
request and that of a list; and a shadow's line has the items that nobody was sent.
"""

import json
import logging
import multiprocessing
import os
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, final

import orjson
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
    values,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

# 0.1 ms to 10 s: encode and decode take well under a millisecond, a deadline some seconds. Two a
# decade: each is a series for every label, and a scrape should stay below 300 of them.
SECONDS_BUCKETS: Final = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10)
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
        "foldin_variant_lists",
        "Lists of users who are in a split, by its arm and the source.",
        ("variant", "source"),
    ),
    (
        "foldin_shadow_lists",
        "Lists a shadow model was to make: made, no_list, unsupported (control), failed, skipped.",
        ("model", "outcome"),
    ),
    (
        "foldin_cache",
        "Latent store use by outcome (hit, miss, bypass, error, written, lost).",
        ("outcome",),
    ),
    (
        "foldin_records_refused",
        "Kept records not used (damaged; another format, model, user or history; content).",
        ("reason",),
    ),
    (
        "foldin_events",
        "Events of users by outcome (taken, repeated ones included; unknown; lost).",
        ("outcome",),
    ),
    (
        "foldin_refused",
        "Rows without a list (overloaded, deadline, abandoned).",
        ("reason",),
    ),
    (
        "foldin_reload",
        "Changes of a model by outcome (as refused) and reason (an error); each worker its own.",
        ("model", "outcome", "reason"),
    ),
    (
        "foldin_retrieved",
        "Rows by what proved their list (certified, widened, recomputed over the catalogue).",
        ("step",),
    ),
)
STORE_BREAKER: Final = (
    "foldin_store_breaker",
    "Circuit breaker before Redis: 0 closed, 1 half-open, 2 open; the worst of the workers.",
    ("operation",),
)
REQUEST_SECONDS: Final = (
    "foldin_request_seconds",
    (
        "From the first byte of a request to the last of its answer, failures included; by "
        "route for those that recommend, other for the rest."
    ),
    ("route",),
)
STAGE_SECONDS: Final = (
    "foldin_stage_seconds",
    (
        "Where the time goes: queue (a row); engine, and of it encode and retrieve (a batch); "
        "store_get, store_put. Warming a model up counts."
    ),
    ("stage",),
)
SHADOW_OVERLAP: Final = (
    "foldin_shadow_overlap",
    "Share of a list's items that the shadow model's list has, too.",
    ("model",),
)
SHARE_BUCKETS: Final = (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)
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
        _leave_out_times_of_creation()
        self._registry = CollectorRegistry()
        self._shared_folder = shared_folder
        if shared_folder is not None:
            _keep_values_in(shared_folder)
        (
            self.requests,
            self.recommendations,
            self.variants,
            self.shadows,
            self.cache,
            self.records_refused,
            self.events,
            self.refused,
            self.reloads,
            self.retrieved,
        ) = (self._counter(*row) for row in COUNTERS)
        histogram = partial(Histogram, registry=self._registry)
        self.request_seconds = histogram(*REQUEST_SECONDS, buckets=SECONDS_BUCKETS)
        self.stage_seconds = histogram(*STAGE_SECONDS, buckets=SECONDS_BUCKETS)
        self.shadow_overlap = histogram(*SHADOW_OVERLAP, buckets=SHARE_BUCKETS)
        self.batch_size = histogram("foldin_batch_size", "Rows a batch.", buckets=BATCH_BUCKETS)
        gauge = partial(Gauge, registry=self._registry)
        self.queue_rows = gauge(
            "foldin_queue_rows", "Rows that wait for the engine.", multiprocess_mode="livesum"
        )
        self.store_breaker = gauge(*STORE_BREAKER, multiprocess_mode="livemax")
        self.model_info = gauge(
            "foldin_model_info",
            "1 for each model that answers; of several workers, for each that one answers with.",
            MODEL_LABELS,
            multiprocess_mode="livemax",
        )

    def _counter(self, name: str, meaning: str, labels: tuple[str, ...]) -> Counter:
        return Counter(name, meaning, labels, registry=self._registry)

    def count_retrieved(self, step: str, rows: int) -> None:
        """Count rows by the step of retrieval that settled them."""
        self.retrieved.labels(step).inc(rows)

    def observe_stage(self, stage: str, seconds: float) -> None:
        """Time a stage of a batch."""
        self.stage_seconds.labels(stage).observe(seconds)

    def show_model(self, labels: tuple[str, ...]) -> None:
        """Name a model that answers, in the order of ``MODEL_LABELS``."""
        self.model_info.labels(*labels).set(1)

    def hide_model(self, labels: tuple[str, ...]) -> None:
        """Name a model no more: it does not answer any longer."""
        if self._shared_folder is None:
            self.model_info.remove(*labels)
        else:  # nothing can be taken out of the files: _CommonFigures leaves zeros out
            self.model_info.labels(*labels).set(0)

    def exposition(self) -> bytes:
        """Render all metrics, those of the processes that share a folder added up, as text."""
        if self._shared_folder is None:
            return generate_latest(self._registry)
        registry = CollectorRegistry()
        registry.register(_CommonFigures(self._shared_folder))
        return generate_latest(registry)


@final
class _CommonFigures(Collector):
    """The figures of all processes, but for models that nobody answers with any more."""

    def __init__(self, shared_folder: Path) -> None:
        self._all = MultiProcessCollector(None, str(shared_folder))  # type: ignore[no-untyped-call]  # it has no types

    def collect(self) -> Iterator[Metric]:
        metrics: Iterable[Metric] = self._all.collect()  # type: ignore[no-untyped-call]  # as above
        for metric in metrics:
            if metric.name == "foldin_model_info":
                metric.samples = [sample for sample in metric.samples if sample.value]
            yield metric


def _leave_out_times_of_creation() -> None:
    # For the whole process: a series more for every counter and histogram, which nobody reads.
    disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no types


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
        try:
            return orjson.dumps(line, default=str).decode()
        except TypeError:  # a file's name that is not UTF-8, say: the line is worth more than it
            text = json.dumps(line, default=str, ensure_ascii=False)
            return text.encode(errors="replace").decode()


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
