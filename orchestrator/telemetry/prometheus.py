"""What `/metrics` serves. No label names a device, so the number of series does not grow with the fleet.

Calls are counted as they happen; everything else is looked up in the store every few seconds by `run`, so that a scrape
costs nothing and never waits.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import prometheus_client
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from edge_agent.errors import SketchError
from edge_agent.sketch import LatencySketch
from orchestrator.errors import OrchestratorError
from orchestrator.records import WindowTotals
from orchestrator.store import Database, Session

logger = logging.getLogger(__name__)

REFRESH_S = 5.0
BUSY_SHARE = 0.05
"""Of the time at most, spent on looking: a large fleet is looked at less often."""
RECENT_MS = 300_000
SERIES_PER_METRIC = 500
"""Beyond it the rarest combinations of labels are served as one, whose labels are all "other"."""
EVERYTHING = 1_000_000


@dataclass(frozen=True)
class MetricInfo:
    """One metric, for the documentation and the exposition alike."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str


METRICS = (
    MetricInfo("espalier_rpcs_total", "counter", ("method", "code"), "calls answered, by gRPC status"),
    MetricInfo("espalier_rpc_seconds", "histogram", ("method",), "time to answer a call; of a stream, its whole life"),
    MetricInfo("espalier_sessions", "gauge", (), "devices that hold a watch open"),
    MetricInfo("espalier_revision", "gauge", (), "last revision of the event log"),
    MetricInfo("espalier_devices", "gauge", ("device_class", "online"), "known devices"),
    MetricInfo("espalier_device_actions", "gauge", ("state",), "devices by the state of their last action"),
    MetricInfo("espalier_device_models", "gauge", ("model", "version"), "devices by the model that they run"),
    MetricInfo("espalier_jobs", "gauge", ("state",), "jobs"),
    MetricInfo("espalier_rollouts", "gauge", ("state",), "rollouts"),
    MetricInfo("espalier_decisions", "gauge", ("policy", "outcome"), "decisions"),
    MetricInfo("espalier_published_models", "gauge", ("model",), "published versions"),
    MetricInfo("espalier_samples", "gauge", (), "returned samples that are held"),
    MetricInfo(
        "espalier_recent_requests", "gauge", ("model", "version", "device_class"), "inferences in the last 5 minutes"
    ),
    MetricInfo(
        "espalier_recent_errors", "gauge", ("model", "version", "device_class"), "failed inferences in 5 minutes"
    ),
    MetricInfo(
        "espalier_recent_labelled", "gauge", ("model", "version", "device_class"), "labelled inferences in 5 minutes"
    ),
    MetricInfo(
        "espalier_recent_labelled_correct",
        "gauge",
        ("model", "version", "device_class"),
        "correct ones of the labelled inferences in 5 minutes",
    ),
    MetricInfo(
        "espalier_recent_engine_seconds",
        "gauge",
        ("model", "version", "device_class", "quantile"),
        "engine time per inference in 5 minutes, over all devices together",
    ),
    MetricInfo("espalier_recent_dropped_records", "gauge", (), "telemetry that devices had to forget in 5 minutes"),
)

Labels = tuple[str, ...]


@dataclass
class _Snapshot:
    """Values by metric and labels, as they were at the last look."""

    gauges: dict[str, dict[Labels, float]] = field(default_factory=dict)

    def add(self, name: str, labels: Labels, value: float) -> None:
        series = self.gauges.setdefault(name, {})
        series[labels] = series.get(labels, 0.0) + value


# A series of its own for each series, of no use to anybody.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics(Collector):
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._calls = prometheus_client.Counter(
            "espalier_rpcs", _meaning("espalier_rpcs_total"), ("method", "code"), registry=self.registry
        )
        self._seconds = prometheus_client.Histogram(
            "espalier_rpc_seconds", _meaning("espalier_rpc_seconds"), ("method",), registry=self.registry
        )
        self._snapshot = _Snapshot()
        self.registry.register(self)

    def observe(self, method: str, code: str, seconds: float) -> None:
        """Count one call."""
        name = method.rpartition(".")[2]
        self._calls.labels(name, code).inc()
        self._seconds.labels(name).observe(seconds)

    def render(self) -> tuple[bytes, str]:
        """The body of `/metrics` and its content type."""
        return prometheus_client.generate_latest(self.registry), prometheus_client.CONTENT_TYPE_LATEST

    def collect(self) -> Iterator[Metric]:
        for info in METRICS:
            if info.kind == "gauge":
                family = GaugeMetricFamily(info.name, info.meaning, labels=info.labels)
                for labels, value in _bounded(self._snapshot.gauges.get(info.name, {})).items():
                    family.add_metric(labels, value)
                yield family

    async def refresh(self, database: Database, count_sessions: Callable[[], int]) -> None:
        snapshot = await database.read(_look)
        snapshot.add("espalier_sessions", (), count_sessions())
        self._snapshot = snapshot

    async def run(self, database: Database, count_sessions: Callable[[], int]) -> None:
        """Look again and again, until cancelled."""
        while True:
            began = time.monotonic()
            try:
                await self.refresh(database, count_sessions)
            except OrchestratorError as error:
                logger.warning("metrics are stale: %s", error)
            took_s = time.monotonic() - began
            await asyncio.sleep(max(REFRESH_S, took_s / BUSY_SHARE))


def _look(session: Session) -> _Snapshot:
    snapshot = _Snapshot()
    names = {model.digest: model.name for model in session.models.list(limit=EVERYTHING)}
    snapshot.add("espalier_revision", (), session.revision)
    for device in session.devices.list(limit=EVERYTHING):
        snapshot.add("espalier_devices", (device.facts.device_class, str(device.online).lower()), 1)
        snapshot.add("espalier_device_actions", (device.action_state.value,), 1)
        if device.running_digest:
            version = device.running_digest[:12]
            snapshot.add("espalier_device_models", (names.get(device.running_digest, ""), version), 1)
    for job in session.jobs.list(limit=EVERYTHING):
        snapshot.add("espalier_jobs", (job.state.value,), 1)
    for rollout in session.rollouts.list(limit=EVERYTHING):
        snapshot.add("espalier_rollouts", (rollout.state.value,), 1)
    for decision in session.decisions.list(limit=EVERYTHING):
        snapshot.add("espalier_decisions", (decision.policy, decision.outcome), 1)
    for name, count in Counter(names.values()).items():
        snapshot.add("espalier_published_models", (name,), count)
    snapshot.add("espalier_samples", (), sum(stats.samples for stats in session.samples.stats()))
    totals = session.telemetry.window_totals(since_ms=session.now_ms - RECENT_MS)
    _add_recent(snapshot, totals, names)
    return snapshot


def _add_recent(snapshot: _Snapshot, totals: Iterable[WindowTotals], names: dict[str, str]) -> None:
    sketches: dict[Labels, LatencySketch] = {}
    dropped = {entry.device_id: entry.dropped_records for entry in totals}
    for entry in totals:
        labels: Labels = (names.get(entry.model_digest, ""), entry.model_digest[:12], entry.device_class)
        for counter in ("requests", "errors", "labelled", "labelled_correct"):
            snapshot.add(f"espalier_recent_{counter}", labels, getattr(entry, counter))
        try:
            sketches.setdefault(labels, LatencySketch(entry.engine_latency_us.relative_error)).merge(
                entry.engine_latency_us
            )
        except SketchError:
            continue  # a device with another precision than the rest of its class
    for key, sketch in sketches.items():
        for quantile in (0.5, 0.95, 0.99):
            microseconds = sketch.quantile(quantile)
            if microseconds is not None:
                snapshot.add("espalier_recent_engine_seconds", (*key, str(quantile)), microseconds / 1e6)
    snapshot.add("espalier_recent_dropped_records", (), sum(dropped.values()))


def _bounded(series: dict[Labels, float]) -> dict[Labels, float]:
    """At most SERIES_PER_METRIC of them; what is left out is added up under "other"."""
    if len(series) <= SERIES_PER_METRIC:
        return series
    ordered = sorted(series.items(), key=lambda item: (-item[1], item[0]))
    kept = dict(ordered[: SERIES_PER_METRIC - 1])
    rest = ordered[SERIES_PER_METRIC - 1 :]
    return {**kept, ("other",) * len(rest[0][0]): sum(value for _, value in rest)}


def _meaning(name: str) -> str:
    return next(info.meaning for info in METRICS if info.name == name)
