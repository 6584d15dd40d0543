"""Metrics and logs: what an operator sees of the service.

One ``Telemetry`` an app, with a registry of its own: two apps in one process (as in tests) do
not add up. Label values are route templates and fixed words, never an id.
"""

from typing import Final, final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

# 0.1 ms to 10 s: encode and decode take well under a millisecond, a deadline some seconds.
SECONDS_BUCKETS: Final = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10,
)  # fmt: skip
BATCH_BUCKETS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@final
class Telemetry:
    """The counters and histograms of one app."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "foldin_requests",
            "Requests by route template, method and status, failures included.",
            ("route", "method", "status"),
            registry=self._registry,
        )
        self.request_seconds = Histogram(
            "foldin_request_seconds",
            "From the first byte of a request to the last of its answer, failures included.",
            ("route",),
            buckets=SECONDS_BUCKETS,
            registry=self._registry,
        )
        self.stage_seconds = Histogram(
            "foldin_stage_seconds",
            "Where the time goes: queue (per row), engine (per batch), store_get, store_put.",
            ("stage",),
            buckets=SECONDS_BUCKETS,
            registry=self._registry,
        )
        self.batch_size = Histogram(
            "foldin_batch_size", "Rows a batch.", buckets=BATCH_BUCKETS, registry=self._registry
        )
        self.recommendations = Counter(
            "foldin_recommendations",
            "Lists by source (model, popularity) and reason (empty for the model).",
            ("source", "reason"),
            registry=self._registry,
        )
        self.cache = Counter(
            "foldin_cache",
            "Latent store use by outcome (hit, miss, bypass, error, written, lost).",
            ("outcome",),
            registry=self._registry,
        )
        self.refused = Counter(
            "foldin_refused",
            "Rows that got no list, by reason (overloaded, deadline, abandoned).",
            ("reason",),
            registry=self._registry,
        )
        self.model_info = Gauge(
            "foldin_model_info",
            "1 for the model that answers.",
            ("name", "version", "architecture", "retrieval"),
            registry=self._registry,
        )

    def exposition(self) -> bytes:
        """Render all metrics in the Prometheus text format."""
        return generate_latest(self._registry)
