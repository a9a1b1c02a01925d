"""Adds up telemetry windows: counters are summed, sketches merged, so that fleet percentiles are true percentiles."""

from __future__ import annotations

from itertools import zip_longest

from edge_agent.errors import SketchError
from edge_agent.sketch import LatencySketch
from orchestrator.records import WindowTotals
from protos import fleet_pb2

_SUMMED = (
    "requests",
    "errors",
    "labelled",
    "labelled_correct",
    "feedback_late",
    "feedback_unmatched",
    "cpu_seconds",
)


class TotalsBuilder:
    """Takes windows of one device and one model one by one."""

    def __init__(self, device_id: str, model_digest: str) -> None:
        self.device_id = device_id
        self.device_class = ""
        self.model_digest = model_digest
        self.dropped_records = 0
        self._total = fleet_pb2.Window()
        self._windows = 0
        self._engine = _Merged()
        self._request = _Merged()
        self._confidence: list[int] = []
        self._classes: list[int] = []

    def add(self, window: fleet_pb2.Window, device_class: str) -> None:
        total = self._total
        total.start_ms = min(total.start_ms, window.start_ms) if self._windows else window.start_ms
        total.end_ms = max(total.end_ms, window.end_ms)
        for counter in _SUMMED:
            setattr(total, counter, getattr(total, counter) + getattr(window, counter))
        total.rss_bytes = max(total.rss_bytes, window.rss_bytes)
        self._engine.add(window.engine_latency_us)
        self._request.add(window.request_latency_us)
        self._confidence = _add_bins(self._confidence, window.confidence_histogram)
        self._classes = _add_bins(self._classes, window.class_counts)
        self._windows += 1
        self.device_class = device_class

    def build(self) -> WindowTotals:
        return WindowTotals(
            device_id=self.device_id,
            device_class=self.device_class,
            model_digest=self.model_digest,
            from_ms=self._total.start_ms,
            until_ms=self._total.end_ms,
            windows=self._windows,
            requests=self._total.requests,
            errors=self._total.errors,
            labelled=self._total.labelled,
            labelled_correct=self._total.labelled_correct,
            engine_latency_us=self._engine.sketch,
            request_latency_us=self._request.sketch,
            confidence_histogram=tuple(self._confidence),
            class_counts=tuple(self._classes),
            dropped_records=self.dropped_records,
            feedback_late=self._total.feedback_late,
            feedback_unmatched=self._total.feedback_unmatched,
            rss_bytes=self._total.rss_bytes,
            cpu_seconds=self._total.cpu_seconds,
        )


class _Merged:
    """The merge of many sketches; where a device changed its relative error, the later ones are the ones that count."""

    def __init__(self) -> None:
        self.sketch = LatencySketch()

    def add(self, message: fleet_pb2.Sketch) -> None:
        sketch = LatencySketch.from_proto(message)
        if sketch.count == 0:
            return
        try:
            self.sketch.merge(sketch)
        except SketchError:
            self.sketch = sketch


def _add_bins(total: list[int], more: object) -> list[int]:
    return [a + b for a, b in zip_longest(total, more, fillvalue=0)]  # type: ignore[call-overload]  # a repeated field
