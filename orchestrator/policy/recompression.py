"""When to compress again, for which device, and how: from a fleet's telemetry to decisions.

`decide` gathers the evidence about every device that a policy watches and has each judged; what a decision is made of
and how it is replayed is in `judgement`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from orchestrator.policy.evidence import Evidence, counters_of
from orchestrator.policy.judgement import (
    DISTILL_AGAIN,
    FASTER_CANDIDATE,
    LADDER,
    Keep,
    Recompress,
    is_same,
    judge,
    replay,
    triggers_of,
)
from orchestrator.policy.triggers import Trigger
from orchestrator.records import Decision, Device, Job, WindowTotals
from orchestrator.spec import RecompressionPolicySpec, dump

__all__ = [
    "DISTILL_AGAIN",
    "FASTER_CANDIDATE",
    "LADDER",
    "DeviceTelemetry",
    "Keep",
    "Recompress",
    "Streak",
    "decide",
    "is_same",
    "judge",
    "replay",
]


@dataclass(frozen=True, kw_only=True)
class DeviceTelemetry:
    """One device's telemetry of the model it runs."""

    recent: Mapping[Trigger, WindowTotals] = field(default_factory=dict)  # each over the window of that trigger
    first: WindowTotals | None = None  # from the model's first requests on this device


@dataclass(frozen=True, kw_only=True)
class Streak:
    """Looks in a row at which one trigger fired, and how far the data went at the last of them."""

    device_id: str
    model_digest: str
    trigger: Trigger
    count: int = 0
    until_ms: int = 0


def decide(
    telemetry: Mapping[str, DeviceTelemetry],
    devices: Iterable[Device],
    jobs: Iterable[Job],
    decisions: Iterable[Decision],
    policy: RecompressionPolicySpec,
    samples: Mapping[str, int],
    streaks: Iterable[Streak],
    now_ms: int,
    *,
    in_rollout: frozenset[str] = frozenset(),
) -> tuple[tuple[Keep | Recompress, ...], tuple[Streak, ...]]:
    """Judge every device that the policy watches; those that had a turn most recently come last.

    Args:
        jobs: those under way; a running job of a decision counts against the cap even before its outcome is known.
        decisions: of this policy, any order.
        samples: returned samples held, by device.
        streaks: what the last call returned.
        in_rollout: devices that a rollout under way is about.

    Returns:
        One verdict per watched device, and the streaks for the next call.
    """
    yaml = dump(policy, complete=True)
    own = [decision for decision in decisions if decision.policy == policy.name]
    before = {(streak.device_id, streak.model_digest, streak.trigger): streak for streak in streaks}
    active = {decision.id for decision in own if decision.outcome == "running"}
    active |= {job.decision_id for job in jobs if not job.state.is_terminal and job.decision_id in {d.id for d in own}}
    started = 0
    verdicts: list[Keep | Recompress] = []
    after: list[Streak] = []
    last_turn = {d.device_id: d.decided_at_ms for d in sorted(own, key=lambda d: d.decided_at_ms)}
    for device in sorted(devices, key=lambda device: (last_turn.get(device.id, 0), device.id)):
        if not _is_watched(device, policy):
            continue
        seen = telemetry.get(device.id, DeviceTelemetry())
        evidence = _gather(device, seen, policy, yaml, own, before, samples, now_ms)
        evidence = replace(
            evidence,
            in_rollout=evidence.in_rollout or device.id in in_rollout,
            running_decisions=len(active) + started,
            decisions_in_budget=evidence.decisions_in_budget + started,
        )
        verdict = judge(evidence)
        started += isinstance(verdict, Recompress)
        verdicts.append(verdict)
        for trigger in triggers_of(policy):
            totals = seen.recent.get(trigger)
            known = before.get((device.id, device.running_digest, trigger))
            after.append(
                Streak(
                    device_id=device.id,
                    model_digest=device.running_digest,
                    trigger=trigger,
                    count=verdict.streaks.get(trigger.value, 0),
                    until_ms=max(totals.until_ms if totals else 0, known.until_ms if known else 0),
                )
            )
    return tuple(verdicts), tuple(after)


def _is_watched(device: Device, policy: RecompressionPolicySpec) -> bool:
    classes = policy.device_classes
    named = device.assignment is not None and device.assignment.model_name == policy.model_name
    return bool(device.running_digest) and named and ("*" in classes or device.facts.device_class in classes)


def _gather(
    device: Device,
    seen: DeviceTelemetry,
    policy: RecompressionPolicySpec,
    policy_yaml: str,
    own: list[Decision],
    before: Mapping[tuple[str, str, Trigger], Streak],
    samples: Mapping[str, int],
    now_ms: int,
) -> Evidence:
    """What is known about one device, without what this very call has started."""
    streaks, fresh = {}, {}
    for trigger in triggers_of(policy):
        known = before.get((device.id, device.running_digest, trigger))
        totals = seen.recent.get(trigger)
        streaks[trigger.value] = known.count if known else 0
        fresh[trigger.value] = totals is not None and totals.until_ms > (known.until_ms if known else 0)
    assigned = device.assignment
    busy = assigned is not None and assigned.model_digest != device.running_digest
    about = [decision.decided_at_ms for decision in own if decision.device_id == device.id]
    since_ms = now_ms - int(policy.budget.per_s * 1000)
    return Evidence(
        policy_yaml=policy_yaml,
        device_id=device.id,
        device_class=device.facts.device_class,
        model_digest=device.running_digest,
        now_ms=now_ms,
        seen={trigger.value: counters_of(seen.recent.get(trigger)) for trigger in triggers_of(policy)},
        first=counters_of(seen.first),
        streaks=streaks,
        fresh=fresh,
        in_rollout=busy and not device.action_state.is_terminal,
        last_decision_ms=max(about, default=None),
        decisions_in_budget=sum(decision.decided_at_ms > since_ms for decision in own),
        samples=samples.get(device.id, 0),
        samples_consent=device.samples_consent,
    )
