"""The decision about one device: whether to compress again, how, and why. A function of its evidence alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from orchestrator.policy.evidence import Evidence, EvidenceError, from_json, to_json
from orchestrator.policy.triggers import Look, Trigger, look_at_accuracy, look_at_confidence, look_at_latency
from orchestrator.records import Decision
from orchestrator.spec import RecompressionPolicySpec, parse_policy

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


def judge(evidence: Evidence) -> Keep | Recompress:
    """The decision about one device. Pure: equal evidence, equal decision."""
    policy = _policy_of(evidence.policy_yaml)
    looks = {trigger: _look(trigger, evidence, policy) for trigger in triggers_of(policy)}
    streaks = {trigger.value: _streak(trigger, look, evidence) for trigger, look in looks.items()}
    wanted = policy.hysteresis.consecutive
    due = [trigger for trigger in Trigger if trigger in looks and looks[trigger].fired]
    ripe = [trigger for trigger in due if streaks[trigger.value] >= wanted]

    def keep(reason: str, samples_wanted: int = 0) -> Keep:
        return Keep(evidence.device_id, reason, streaks, evidence, samples_wanted)

    # Samples are asked for from the first sign until recovery: waiting for them takes longest, and a device near the
    # threshold must not be asked to start and to stop by turns.
    suspected = any(streaks[trigger.value] and LADDER[trigger] == DISTILL_AGAIN for trigger in looks)
    more = _samples_wanted(evidence, policy) if suspected else 0
    if not due:
        return keep("; ".join(look.words for look in looks.values()), more)
    if not ripe:
        first = due[0]
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
        return keep(f"{words}: {missing}", more)
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


def triggers_of(policy: RecompressionPolicySpec) -> tuple[Trigger, ...]:
    return tuple(trigger for trigger in Trigger if getattr(policy.triggers, trigger.value) is not None)


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
