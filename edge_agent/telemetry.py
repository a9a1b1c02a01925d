"""Telemetry windows: what each model did in one stretch of time, as counters and sketches, and their way out."""

from __future__ import annotations

import os
import time
from pathlib import Path

from edge_agent.sketch import LatencySketch
from edge_agent.spool import Gap, Record, Spool
from protos import fleet_pb2 as pb

CONFIDENCE_BINS = 32
CLASSES_LIMIT = 1024
"""A model with more classes sends no class counts."""
BATCH_RECORDS = 256
BATCH_BYTES = 256 << 10


class _Counters:
    """One model's share of the window."""

    def __init__(self) -> None:
        self.requests = 0
        self.errors = 0
        self.engine_us = LatencySketch()
        self.request_us = LatencySketch()
        self.confidences = [0] * CONFIDENCE_BINS
        self.classes: list[int] = []
        self.labelled = 0
        self.labelled_correct = 0

    def to_proto(self, digest: str) -> pb.Window:
        return pb.Window(
            model_sha256=bytes.fromhex(digest),
            requests=self.requests,
            errors=self.errors,
            engine_latency_us=self.engine_us.to_proto(),
            request_latency_us=self.request_us.to_proto(),
            confidence_histogram=self.confidences,
            class_counts=self.classes,
            labelled=self.labelled,
            labelled_correct=self.labelled_correct,
        )


class WindowRecorder:
    """Counts into the window that is open. Only what applications were answered counts, not what shadows say."""

    def __init__(self, now_ms: int, cpu_seconds: float) -> None:
        self._start_ms = now_ms
        self._cpu_seconds = cpu_seconds
        self._models: dict[str, _Counters] = {}
        self._late = 0
        self._unmatched = 0

    def predicted(self, digest: str, *, engine_us: float, predicted: int, confidence: float, classes: int) -> None:
        """Count one sample that the model answered."""
        counters = self._of(digest)
        counters.requests += 1
        counters.engine_us.add(engine_us)
        counters.confidences[min(int(confidence * CONFIDENCE_BINS), CONFIDENCE_BINS - 1)] += 1
        if classes <= CLASSES_LIMIT:
            if len(counters.classes) < classes:
                counters.classes.extend([0] * (classes - len(counters.classes)))
            counters.classes[predicted] += 1

    def failed(self, digest: str) -> None:
        """Count one sample that reached the model and that it did not answer."""
        counters = self._of(digest)
        counters.requests += 1
        counters.errors += 1

    def answered(self, digest: str, request_us: float) -> None:
        """Note how long one request took in all, whatever the number of samples in it."""
        self._of(digest).request_us.add(request_us)

    def labelled(self, digest: str, *, correct: bool) -> None:
        counters = self._of(digest)
        counters.labelled += 1
        counters.labelled_correct += correct

    def label_late(self) -> None:
        self._late += 1

    def label_unmatched(self) -> None:
        self._unmatched += 1

    def close(self, now_ms: int, *, serving: str, cpu_seconds: float, rss_bytes: int) -> list[pb.Window]:
        """End the window and begin the next; one message per model that was busy, and one for the serving model anyway.

        A clock that stepped back does not make a window end before it began.
        """
        self._of(serving)
        windows = []
        for digest, counters in self._models.items():
            window = counters.to_proto(digest)
            window.start_ms, window.end_ms = self._start_ms, max(now_ms, self._start_ms)
            window.rss_bytes = rss_bytes
            if digest == serving:
                window.feedback_late, window.feedback_unmatched = self._late, self._unmatched
                window.cpu_seconds = max(0.0, cpu_seconds - self._cpu_seconds)
            windows.append(window)
        self._start_ms, self._cpu_seconds = now_ms, cpu_seconds
        self._late = self._unmatched = 0
        self._models = {}
        return windows

    def _of(self, digest: str) -> _Counters:
        counters = self._models.get(digest)
        if counters is None:
            counters = self._models[digest] = _Counters()
        return counters


class TelemetryLog:
    """Windows in a spool, and the batches that carry them away."""

    def __init__(self, directory: Path, *, max_bytes: int) -> None:
        self._spool = Spool(directory, max_bytes=max_bytes)

    @property
    def pending(self) -> int:
        return self._spool.pending

    def append(self, windows: list[pb.Window]) -> None:
        for window in windows:
            self._spool.append(window.SerializeToString())
        self._spool.sync()

    def batch(self, max_records: int = BATCH_RECORDS) -> pb.PushTelemetryRequest | None:
        """The oldest records that have not been acknowledged; None where there are none.

        A hole takes the place and the number of the last record it swallowed.
        """
        if not self._spool.pending:
            return None
        request = pb.PushTelemetryRequest(spool_id=self._spool.spool_id)
        for item in self._spool.read(max_records=max_records, max_bytes=BATCH_BYTES):
            request.records.append(_record(item))
        return request

    def apology(self, reason: str) -> pb.PushTelemetryRequest | None:
        """In place of the oldest record: that it is dropped."""
        request = self.batch(max_records=1)
        if request is not None:
            seq = request.records[0].seq
            request.records[0].dropped.CopyFrom(pb.DroppedRange(first_seq=seq, last_seq=seq, reason=reason))
        return request

    def acknowledge(self, next_seq: int) -> None:
        self._spool.acknowledge(next_seq)

    def close(self) -> None:
        self._spool.close()


def _record(item: Record | Gap) -> pb.TelemetryRecord:
    if isinstance(item, Gap):
        dropped = pb.DroppedRange(first_seq=item.first_seq, last_seq=item.last_seq, reason=item.reason)
        return pb.TelemetryRecord(seq=item.last_seq, dropped=dropped)
    return pb.TelemetryRecord(seq=item.seq, window=pb.Window.FromString(item.payload))


def rss_bytes() -> int:
    """Resident memory of this process; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000
