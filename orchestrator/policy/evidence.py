"""Everything one decision about one device is made from, as plain data that a record can keep and a replay can read."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from orchestrator.policy.triggers import Counters, Trigger
from orchestrator.records import WindowTotals
from orchestrator.spec import SpecError, parse_policy

EVIDENCE_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """`policy_yaml` is the policy in force; the rest is what was known about the device and about earlier decisions."""

    policy_yaml: str
    device_id: str
    device_class: str
    model_digest: str
    now_ms: int
    seen: dict[str, Counters] = field(default_factory=dict)  # by trigger: over the window of that trigger
    first: Counters = field(default_factory=Counters)  # the model's first requests on this device
    streaks: dict[str, int] = field(default_factory=dict)  # by trigger: looks in a row before this one that fired
    fresh: dict[str, bool] = field(default_factory=dict)  # by trigger: this look saw data that the last did not
    in_rollout: bool = False
    last_decision_ms: int | None = None  # about this device
    decisions_in_budget: int = 0
    running_decisions: int = 0
    samples: int = 0
    samples_consent: bool = False


class EvidenceError(ValueError):
    """Stored evidence cannot be read; the decision cannot be replayed."""


def counters_of(totals: WindowTotals | None) -> Counters:
    """The figures that triggers read, out of merged windows."""
    if totals is None:
        return Counters()
    return Counters(
        requests=totals.requests,
        labelled=totals.labelled,
        labelled_correct=totals.labelled_correct,
        engine_p95_us=totals.engine_latency_us.quantile(0.95),
        confidence_histogram=totals.confidence_histogram,
    )


def to_json(evidence: Evidence) -> str:
    return json.dumps({"version": EVIDENCE_VERSION, **dataclasses.asdict(evidence)}, sort_keys=True, allow_nan=False)


def from_json(text: str) -> Evidence:
    """Read what `to_json` wrote.

    Raises:
        EvidenceError: it is something else.
    """
    try:
        plain = json.loads(text)
        if plain.pop("version") != EVIDENCE_VERSION:
            raise EvidenceError("the evidence is of another version")
        plain["seen"] = {Trigger(name).value: _counters(counters) for name, counters in plain["seen"].items()}
        plain["first"] = _counters(plain["first"])
        evidence = Evidence(**plain)
        parse_policy(evidence.policy_yaml)
        return evidence
    except (AttributeError, KeyError, TypeError, ValueError, SpecError) as error:
        raise EvidenceError(f"the evidence cannot be read: {error}") from error


def _counters(plain: dict[str, Any]) -> Counters:
    return Counters(**{**plain, "confidence_histogram": tuple(plain["confidence_histogram"])})
