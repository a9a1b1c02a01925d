"""When to compress again, for which device, and how: from telemetry to a decision that can be explained and replayed.

`decide` gathers the evidence about every device a policy watches and judges each; `judge` is the whole decision about
one device, a function of its evidence alone; `replay` runs it again on a stored record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from orchestrator.policy.evidence import Evidence, EvidenceError, counters_of, from_json, to_json
from orchestrator.policy.triggers import (
    Look,
    Trigger,
    look_at_accuracy,
    look_at_confidence,
    look_at_latency,
)
from orchestrator.records import Decision, Device, Job, WindowTotals
from orchestrator.spec import RecompressionPolicySpec, dump, parse_policy

DISTILL_AGAIN = "distill_again"
FASTER_CANDIDATE = "faster_candidate"

LADDER = {
    Trigger.ACCURACY: DISTILL_AGAIN,
    Trigger.CONFIDENCE_DRIFT: DISTILL_AGAIN,
    Trigger.LATENCY: FASTER_CANDIDATE,
}
"""The cheapest action that helps against each trouble."""


@dataclass(frozen=True)
class Keep:
    """Nothing is done about this device now, but that it may be asked for samples."""

    device_id: str
    reason: str
    streaks: Mapping[str, int]
    evidence: Evidence
    samples_wanted: int = 0  # more than there are


@dataclass(frozen=True)
class Recompress:
    """Start a job of the kind `action` for this device; `goal` is what its rollout must show to be better."""

    device_id: str
    action: str
    goal: str
    trigger: Trigger
    reason: str
    streaks: Mapping[str, int]
    evidence: Evidence

    @property
    def evidence_json(self) -> str:
        return to_json(self.evidence)


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
        for trigger in _triggers(policy):
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


def judge(evidence: Evidence) -> Keep | Recompress:
    """The decision about one device. Pure: equal evidence, equal decision."""
    policy = _policy_of(evidence.policy_yaml)
    looks = {trigger: _look(trigger, evidence, policy) for trigger in _triggers(policy)}
    streaks = {trigger.value: _streak(trigger, look, evidence) for trigger, look in looks.items()}
    wanted = policy.hysteresis.consecutive
    due = [trigger for trigger in Trigger if trigger in looks and looks[trigger].fired]
    ripe = [trigger for trigger in due if streaks[trigger.value] >= wanted]

    def keep(reason: str, samples_wanted: int = 0) -> Keep:
        return Keep(evidence.device_id, reason, streaks, evidence, samples_wanted)

    if not due:
        return keep("; ".join(look.words for look in looks.values()))
    if not ripe:
        first = due[0]
        # Samples are asked for at the first sign already: to wait for them is what takes longest.
        more = _samples_wanted(evidence, policy) if any(LADDER[trigger] == DISTILL_AGAIN for trigger in due) else 0
        return keep(f"{looks[first].words}: seen in {streaks[first.value]} of {wanted} looks", more)
    trigger = ripe[0]
    action, words = LADDER[trigger], looks[trigger].words
    obstacle = _obstacle(evidence, policy)
    if obstacle:
        return keep(f"{words}: {obstacle}")
    if action == DISTILL_AGAIN and evidence.samples < policy.samples.minimum:
        if not evidence.samples_consent:
            return keep(f"{words}: its operator allows no samples to be returned, and there are too few to distil on")
        missing = f"waits for samples: {evidence.samples} of {policy.samples.minimum} returned"
        return keep(f"{words}: {missing}", _samples_wanted(evidence, policy))
    goal = "latency" if action == FASTER_CANDIDATE else "accuracy"
    reason = f"{words}, in {streaks[trigger.value]} looks in a row: {_plan(action, evidence)}"
    return Recompress(evidence.device_id, action, goal, trigger, reason, streaks, evidence)


def replay(decision: Decision) -> Keep | Recompress:
    """What the policy decides on the evidence of a stored decision.

    Raises:
        EvidenceError: the record's evidence cannot be read.
    """
    evidence = from_json(decision.evidence_json)
    try:
        return judge(evidence)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise EvidenceError(f"the evidence contradicts itself: {error}") from error


def is_same(decision: Decision, replayed: Keep | Recompress) -> bool:
    return (
        isinstance(replayed, Recompress)
        and (replayed.device_id, replayed.action, replayed.reason)
        == (decision.device_id, decision.action, decision.reason)
        and replayed.evidence.model_digest == decision.model_digest
    )


@lru_cache(maxsize=64)
def _policy_of(text: str) -> RecompressionPolicySpec:
    """Every device of a fleet is judged by the same text, every second."""
    return parse_policy(text)


def _is_watched(device: Device, policy: RecompressionPolicySpec) -> bool:
    classes = policy.device_classes
    named = device.assignment is not None and device.assignment.model_name == policy.model_name
    return bool(device.running_digest) and named and ("*" in classes or device.facts.device_class in classes)


def _triggers(policy: RecompressionPolicySpec) -> tuple[Trigger, ...]:
    return tuple(trigger for trigger in Trigger if getattr(policy.triggers, trigger.value) is not None)


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
    for trigger in _triggers(policy):
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
        seen={trigger.value: counters_of(seen.recent.get(trigger)) for trigger in _triggers(policy)},
        first=counters_of(seen.first),
        streaks=streaks,
        fresh=fresh,
        in_rollout=busy and not device.action_state.is_terminal,
        last_decision_ms=max(about, default=None),
        decisions_in_budget=sum(decision.decided_at_ms > since_ms for decision in own),
        samples=samples.get(device.id, 0),
        samples_consent=device.samples_consent,
    )


def _look(trigger: Trigger, evidence: Evidence, policy: RecompressionPolicySpec) -> Look:
    seen, margin = evidence.seen[trigger.value], policy.hysteresis.recover_margin
    triggers = policy.triggers
    if trigger is Trigger.ACCURACY and triggers.accuracy is not None:
        return look_at_accuracy(seen, triggers.accuracy, margin)
    if trigger is Trigger.LATENCY and triggers.latency is not None:
        return look_at_latency(seen, triggers.latency, margin)
    assert triggers.confidence_drift is not None
    return look_at_confidence(seen, evidence.first, triggers.confidence_drift, margin)


def _streak(trigger: Trigger, look: Look, evidence: Evidence) -> int:
    """Looks in a row. One without new data says nothing; one between firing and recovery keeps the count."""
    before = evidence.streaks.get(trigger.value, 0)
    if not evidence.fresh.get(trigger.value, False):
        return before
    if look.fired:
        return before + 1
    return 0 if look.recovered else before


def _obstacle(evidence: Evidence, policy: RecompressionPolicySpec) -> str:
    """Why what is due is not done now, or nothing."""
    if evidence.in_rollout:
        return "waits for the rollout on this device to end"
    if evidence.last_decision_ms is not None:
        left_s = policy.cooldown_s - (evidence.now_ms - evidence.last_decision_ms) / 1000.0
        if left_s > 0:
            return f"cools down for another {left_s:.0f} s"
    if evidence.running_decisions >= policy.max_concurrent_jobs:
        return f"waits: {evidence.running_decisions} of {policy.max_concurrent_jobs} recompressions are under way"
    if evidence.decisions_in_budget >= policy.budget.jobs:
        return f"budget used up: {evidence.decisions_in_budget} of {policy.budget.jobs} in {policy.budget.per_s:.0f} s"
    return ""


def _samples_wanted(evidence: Evidence, policy: RecompressionPolicySpec) -> int:
    return max(0, policy.samples.per_device - evidence.samples) if evidence.samples_consent else 0


def _plan(action: str, evidence: Evidence) -> str:
    if action == DISTILL_AGAIN:
        return f"distil again with {evidence.samples} samples that it returned"
    return "look for a faster candidate"
