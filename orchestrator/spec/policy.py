"""`kind: RecompressionPolicy`: when what devices report starts a new compression, and how often it may."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from orchestrator.spec.keys import DEVICE_CLASS, NAME, Key

_NAME = {"pattern": NAME, "pattern_words": "1 to 63 letters, digits, dots, dashes or underscores"}
_CLASS = {"pattern": DEVICE_CLASS, "pattern_words": 'the name of a device class, or "*" for all'}
_WINDOW = {"minimum": 1.0, "maximum": 2_592_000.0}
_COUNT = {"minimum": 1, "maximum": 100_000_000}


@dataclass(frozen=True, kw_only=True)
class AccuracyTrigger:
    floor: Annotated[float, Key("labelled accuracy that a device may not be below", above=0.0, below=1.0)]
    confidence: Annotated[
        float, Key("how sure it must be that accuracy is below the floor", minimum=0.5, maximum=0.999999)
    ] = 0.99
    min_labelled: Annotated[int, Key("labelled requests before it may fire", **_COUNT)] = 100
    window_s: Annotated[float, Key("telemetry it looks back on", **_WINDOW)] = 300.0


@dataclass(frozen=True, kw_only=True)
class LatencyTrigger:
    p95_budget_ms: Annotated[float, Key("p95 of engine time that a device may not be above", above=0.0)]
    min_requests: Annotated[int, Key("requests before it may fire", **_COUNT)] = 200
    window_s: Annotated[float, Key("telemetry it looks back on", **_WINDOW)] = 300.0


@dataclass(frozen=True, kw_only=True)
class ConfidenceDriftTrigger:
    distance: Annotated[
        float,
        Key(
            "share of requests by which confidence has sunk since the model's first ones: one-sided Kolmogorov-Smirnov",
            above=0.0,
            below=1.0,
        ),
    ] = 0.25
    min_requests: Annotated[int, Key("requests before it may fire, now and at first", **_COUNT)] = 500
    window_s: Annotated[float, Key("telemetry it looks back on", **_WINDOW)] = 300.0


@dataclass(frozen=True, kw_only=True)
class TriggersSpec:
    accuracy: Annotated[AccuracyTrigger | None, Key("labels say that the model is often wrong")] = None
    latency: Annotated[LatencyTrigger | None, Key("the model is too slow on the device")] = None
    confidence_drift: Annotated[ConfidenceDriftTrigger | None, Key("the model is less sure than it was")] = None

    def problems(self) -> Iterator[tuple[str, str]]:
        """What is wrong between keys that are each right: (key, message)."""
        if self.accuracy is None and self.latency is None and self.confidence_drift is None:
            yield "", "names no trigger: give at least one of accuracy, latency, confidenceDrift"


@dataclass(frozen=True, kw_only=True)
class HysteresisSpec:
    consecutive: Annotated[int, Key("looks in a row that must fire", minimum=1, maximum=1000)] = 2
    recover_margin: Annotated[
        float,
        Key(
            "how far past the threshold it must return before the count starts over; share of it",
            minimum=0.0,
            below=1.0,
        ),
    ] = 0.02


@dataclass(frozen=True, kw_only=True)
class BudgetSpec:
    jobs: Annotated[int, Key("recompressions that may start", minimum=0, maximum=100_000)] = 4
    per_s: Annotated[float, Key("in any stretch of this length", minimum=1.0, maximum=31_536_000.0)] = 86_400.0


@dataclass(frozen=True, kw_only=True)
class SamplesSpec:
    minimum: Annotated[
        int, Key("returned samples to wait for before distilling again", minimum=0, maximum=10_000_000)
    ] = 300
    per_device: Annotated[int, Key("most samples asked of one device", minimum=0, maximum=10_000_000)] = 1000
    retention_s: Annotated[float, Key("returned samples older than this are deleted", minimum=60.0)] = 604_800.0

    def problems(self) -> Iterator[tuple[str, str]]:
        """What is wrong between keys that are each right: (key, message)."""
        if self.minimum > self.per_device:
            yield "minimum", f"waits for {self.minimum} samples, but perDevice asks for {self.per_device} at most"


@dataclass(frozen=True, kw_only=True)
class RepairSpec:
    epochs: Annotated[int, Key("passes when distilling again", minimum=1, maximum=10_000)] = 3


@dataclass(frozen=True, kw_only=True)
class RecompressionPolicySpec:
    name: Annotated[str, Key("metadata.name", hidden=True, **_NAME)]
    model_name: Annotated[str, Key("the model it watches over", **_NAME)]
    device_classes: Annotated[
        tuple[Annotated[str, Key("a class", **_CLASS)], ...], Key("classes it watches", min_items=1)
    ] = ("*",)
    triggers: Annotated[TriggersSpec, Key("what starts a recompression")]
    hysteresis: Annotated[HysteresisSpec, Key("keeps it from flapping")] = HysteresisSpec()
    cooldown_s: Annotated[
        float, Key("pause after a decision about the same device", minimum=0.0, maximum=31_536_000.0)
    ] = 600.0
    budget: Annotated[BudgetSpec, Key("how many recompressions it may start")] = BudgetSpec()
    max_concurrent_jobs: Annotated[int, Key("recompressions under way at once", minimum=1, maximum=100)] = 1
    samples: Annotated[SamplesSpec, Key("labelled inputs that consenting devices return")] = SamplesSpec()
    repair: Annotated[RepairSpec, Key("how distilling again differs from the first time")] = RepairSpec()
