"""Whether one device's telemetry fires one trigger. What several looks and several devices make of that is elsewhere.

A look ends in one of: the trigger fired; it recovered, clearly on the good side; neither, or too little data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.policy.sequential import Fraction
from orchestrator.spec import AccuracyTrigger, ConfidenceDriftTrigger, LatencyTrigger

DRIFT_ALPHA = 0.01
"""Chance that a drift of the stated distance is seen where there is none, per look."""


class Trigger(StrEnum):
    """In the order in which they are acted on where several fire."""

    ACCURACY = "accuracy"
    LATENCY = "latency"
    CONFIDENCE_DRIFT = "confidence_drift"


@dataclass(frozen=True)
class Look:
    fired: bool
    recovered: bool
    words: str


@dataclass(frozen=True, kw_only=True)
class Counters:
    """The part of telemetry that triggers read: totals over one stretch of time of one device and model."""

    requests: int = 0
    labelled: int = 0
    labelled_correct: int = 0
    engine_p95_us: float | None = None
    confidence_histogram: tuple[int, ...] = ()


def look_at_accuracy(seen: Counters, trigger: AccuracyTrigger, recover_margin: float) -> Look:
    """Fires where "accuracy is at least the floor" is rejected by a bound that holds while the labels come in.

    The bound is a confidence sequence over a stretch of time that only grows; where old windows drop out at its start,
    it is a new one: a healthy device is blamed once in 1 / (1 - confidence) such stretches at most, before hysteresis.
    """
    if seen.labelled < trigger.min_labelled:
        return Look(False, False, f"{seen.labelled} of at least {trigger.min_labelled} labelled requests")
    accuracy = Fraction(seen.labelled_correct, seen.labelled)
    alpha = 1.0 - trigger.confidence
    words = f"accuracy {accuracy.estimate:.3f} on {accuracy.total} labelled requests"
    if accuracy.shown_below(trigger.floor, alpha):
        bound = accuracy.upper_bound(alpha)
        return Look(True, False, f"{words}, below {bound:.3f} at {trigger.confidence:.2%}, floor {trigger.floor:.3f}")
    recovered = accuracy.estimate >= min(1.0, trigger.floor * (1.0 + recover_margin))
    return Look(False, recovered, f"{words}, floor {trigger.floor:.3f}")


def look_at_latency(seen: Counters, trigger: LatencyTrigger, recover_margin: float) -> Look:
    """Fires where the p95 of engine time is above the budget."""
    if seen.requests < trigger.min_requests or seen.engine_p95_us is None:
        return Look(False, False, f"{seen.requests} of at least {trigger.min_requests} requests")
    p95_ms = seen.engine_p95_us / 1000.0
    words = f"p95 {p95_ms:.3f} ms over {seen.requests} requests, budget {trigger.p95_budget_ms:.3f} ms"
    recovered = p95_ms <= trigger.p95_budget_ms * (1.0 - recover_margin)
    return Look(p95_ms > trigger.p95_budget_ms, recovered, words)


def look_at_confidence(seen: Counters, first: Counters, trigger: ConfidenceDriftTrigger, recover_margin: float) -> Look:
    """Fires where confidences have sunk by more than the distance, beyond what chance explains.

    distance = max over bins of F_now - F_first, the one-sided Kolmogorov-Smirnov distance of the two distributions;
    each is off by more than sqrt(ln(2 / alpha) / (2 n)) with probability at most alpha / 2.
    Source: Massart 1990, "The tight constant in the Dvoretzky-Kiefer-Wolfowitz inequality" (one-sided form).
    """
    enough = trigger.min_requests
    now_n, first_n = sum(seen.confidence_histogram), sum(first.confidence_histogram)
    if now_n < enough or first_n < enough or len(seen.confidence_histogram) != len(first.confidence_histogram):
        return Look(False, False, f"confidences of {now_n} requests now and {first_n} at first, of at least {enough}")
    distance = sinking_distance(first.confidence_histogram, seen.confidence_histogram)
    slack = sum(math.sqrt(math.log(2.0 / DRIFT_ALPHA) / (2.0 * n)) for n in (now_n, first_n))
    words = (
        f"confidence has sunk by {distance:.3f} (at least {max(0.0, distance - slack):.3f} beyond chance) "
        f"on {now_n} requests, limit {trigger.distance:.3f}"
    )
    recovered = distance <= trigger.distance * (1.0 - recover_margin)
    return Look(distance - slack > trigger.distance, recovered, words)


def sinking_distance(first: tuple[int, ...], now: tuple[int, ...]) -> float:
    """max over bins of F_now - F_first: 0 where confidence has not sunk, 1 where all of it has."""
    first_n, now_n = sum(first), sum(now)
    first_sum = now_sum = 0
    distance = 0.0
    for first_count, now_count in zip(first, now, strict=True):
        first_sum += first_count
        now_sum += now_count
        distance = max(distance, now_sum / now_n - first_sum / first_n)
    return distance
