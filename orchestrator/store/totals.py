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
)


class TotalsBuilder:
    """Takes windows of one device and one model one by one, or what such windows have been added up to before."""

    def __init__(self, device_id: str, model_digest: str) -> None:
        self.device_id = device_id
        self.device_class = ""
        self.model_digest = model_digest
        self.dropped_records = 0
        self.windows = 0
        self._start_ms = self._end_ms = self._rss_bytes = 0
        self._sums: dict[str, int] = dict.fromkeys(_SUMMED, 0)
        self._cpu_seconds = 0.0
        self._engine = _Merged()
        self._request = _Merged()
        self._confidence: list[int] = []
        self._classes: list[int] = []

    @property
    def requests(self) -> int:
        return self._sums["requests"]

    def add(self, window: fleet_pb2.Window, device_class: str, windows: int = 1) -> None:
        """Count a message that stands for so many windows."""
        self._start_ms = min(self._start_ms, window.start_ms) if self.windows else window.start_ms
        self._end_ms = max(self._end_ms, window.end_ms)
        self._rss_bytes = max(self._rss_bytes, window.rss_bytes)
        self._cpu_seconds += window.cpu_seconds
        for counter in _SUMMED:
            self._sums[counter] += getattr(window, counter)
        self._engine.add(window.engine_latency_us)
        self._request.add(window.request_latency_us)
        self._confidence = _add_bins(self._confidence, window.confidence_histogram)
        self._classes = _add_bins(self._classes, window.class_counts)
        self.windows += windows
        self.device_class = device_class

    def build(self) -> WindowTotals:
        return WindowTotals(
            device_id=self.device_id,
            device_class=self.device_class,
            model_digest=self.model_digest,
            from_ms=self._start_ms,
            until_ms=self._end_ms,
            windows=self.windows,
            engine_latency_us=self._engine.sketch,
            request_latency_us=self._request.sketch,
            confidence_histogram=tuple(self._confidence),
            class_counts=tuple(self._classes),
            dropped_records=self.dropped_records,
            rss_bytes=self._rss_bytes,
            cpu_seconds=self._cpu_seconds,
            **self._sums,
        )

    def to_window(self) -> fleet_pb2.Window:
        """All of it as one window."""
        return fleet_pb2.Window(
            model_sha256=bytes.fromhex(self.model_digest),
            start_ms=self._start_ms,
            end_ms=self._end_ms,
            engine_latency_us=self._engine.sketch.to_proto(),
            request_latency_us=self._request.sketch.to_proto(),
            confidence_histogram=self._confidence,
            class_counts=self._classes,
            rss_bytes=self._rss_bytes,
            cpu_seconds=self._cpu_seconds,
            **self._sums,
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
