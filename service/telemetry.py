"""Metrics and logs: what an operator sees of the service.

One ``Telemetry`` an app, with a registry of its own: two apps in one process (as in tests) do
not add up. Label values are route templates and fixed words, never an id; so are the fields of
a log line, which are given as ``logger.info("message", extra={"fields": {...}})``.
"""

import logging
import sys
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Literal, final

import orjson
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

# 0.1 ms to 10 s: encode and decode take well under a millisecond, a deadline some seconds.
SECONDS_BUCKETS: Final = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10,
)  # fmt: skip
MODEL_LABELS: Final = ("name", "version", "architecture", "retrieval")
BATCH_BUCKETS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@final
class Telemetry:
    """The counters and histograms of one app."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        counter = partial(Counter, registry=self._registry)
        histogram = partial(Histogram, buckets=SECONDS_BUCKETS, registry=self._registry)
        seconds = partial(histogram, buckets=SECONDS_BUCKETS)
        gauge = partial(Gauge, registry=self._registry)
        self.requests = counter(
            "foldin_requests",
            "Requests by route template, method and status, failures included.",
            ("route", "method", "status"),
        )
        self.request_seconds = seconds(
            "foldin_request_seconds",
            "From the first byte of a request to the last of its answer, failures included.",
            ("route",),
        )
        self.stage_seconds = seconds(
            "foldin_stage_seconds",
            "Where the time goes: queue (per row), engine (per batch), store_get, store_put.",
            ("stage",),
        )
        self.batch_size = histogram("foldin_batch_size", "Rows a batch.", buckets=BATCH_BUCKETS)
        self.recommendations = counter(
            "foldin_recommendations",
            "Lists by source (model, popularity) and reason (empty for the model).",
            ("source", "reason"),
        )
        self.cache = counter(
            "foldin_cache",
            "Latent store use by outcome (hit, miss, bypass, error, written, lost).",
            ("outcome",),
        )
        self.refused = counter(
            "foldin_refused", "Rows without a list (overloaded, deadline, abandoned).", ("reason",)
        )
        self.queue_rows = gauge("foldin_queue_rows", "Rows that wait for the engine.")
        self.model_info = gauge("foldin_model_info", "1 for the model that answers.", MODEL_LABELS)

    def exposition(self) -> bytes:
        """Render all metrics in the Prometheus text format."""
        return generate_latest(self._registry)


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
