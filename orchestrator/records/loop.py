"""The loop: policies, what telemetry adds up to, what was decided, and what happened."""

from __future__ import annotations

from dataclasses import dataclass, field

from edge_agent.sketch import LatencySketch


@dataclass(frozen=True, kw_only=True)
class WindowTotals:
    """Telemetry of one device and one model over a stretch of time: counters summed, sketches merged."""

    device_id: str
    device_class: str
    model_digest: str
    from_ms: int
    until_ms: int
    windows: int = 0
    requests: int = 0
    errors: int = 0
    labelled: int = 0
    labelled_correct: int = 0
    engine_latency_us: LatencySketch = field(default_factory=LatencySketch)
    request_latency_us: LatencySketch = field(default_factory=LatencySketch)
    confidence_histogram: tuple[int, ...] = ()
    class_counts: tuple[int, ...] = ()
    dropped_records: int = 0
    feedback_late: int = 0
    feedback_unmatched: int = 0
    rss_bytes: int = 0  # the most of any window
    cpu_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One decision of the loop, with everything it was made from; `evidence` is enough to make it again."""

    id: str
    policy: str
    device_id: str
    model_digest: str
    action: str
    reason: str
    evidence_json: str
    decided_at_ms: int
    job_id: str = ""
    rollout_id: str = ""
    outcome: str = "running"


@dataclass(frozen=True, kw_only=True)
class Policy:
    """A RecompressionPolicy as the operator wrote it."""

    name: str
    spec_yaml: str
    updated_at_ms: int = 0
    deleted: bool = False


@dataclass(frozen=True, kw_only=True)
class Event:
    """One line of the log of everything: `snapshot` is the record as it was right after the change, as JSON."""

    revision: int
    kind: str
    subject: str
    at_ms: int
    snapshot: str
