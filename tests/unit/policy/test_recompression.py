"""When a policy compresses again: on evidence, not at once, not too often, and always explained."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest

from edge_agent.sketch import LatencySketch
from orchestrator.policy.evidence import EvidenceError
from orchestrator.policy.recompression import (
    DeviceTelemetry,
    Keep,
    Recompress,
    Streak,
    decide,
    is_same,
    replay,
)
from orchestrator.policy.triggers import Trigger, sinking_distance
from orchestrator.records import ActionState, Decision, Device, Job, JobState, WindowTotals
from orchestrator.spec import RecompressionPolicySpec, parse_policy
from tests.unit.policy.fleet_simulation import NEW, OLD, make_device

POLICY = parse_policy(
    """
apiVersion: espalier/v1
kind: RecompressionPolicy
metadata: {name: keep}
spec:
  modelName: m
  triggers:
    accuracy: {floor: 0.80, confidence: 0.99, minLabelled: 100, windowS: 60}
    latency: {p95BudgetMs: 5.0, minRequests: 200, windowS: 60}
    confidenceDrift: {distance: 0.2, minRequests: 500, windowS: 60}
  hysteresis: {consecutive: 2, recoverMargin: 0.05}
  cooldownS: 120
  budget: {jobs: 2, perS: 3600}
  samples: {minimum: 300, perDevice: 800}
"""
)
ENOUGH = {"a": 500, "b": 500, "c": 500}


def totals(
    until_ms: int,
    *,
    labelled: int = 0,
    correct: int = 0,
    p95_ms: float = 1.0,
    requests: int = 1000,
    histogram: tuple[int, ...] = (),
) -> WindowTotals:
    sketch = LatencySketch()
    sketch.add(p95_ms * 1000.0, requests)
    return WindowTotals(
        device_id="a",
        device_class="gateway",
        model_digest=OLD,
        from_ms=0,
        until_ms=until_ms,
        requests=requests,
        labelled=labelled,
        labelled_correct=correct,
        engine_latency_us=sketch,
        confidence_histogram=histogram,
    )


def telemetry(window: WindowTotals, first: WindowTotals | None = None) -> DeviceTelemetry:
    return DeviceTelemetry(recent=dict.fromkeys(Trigger, window), first=first)


def camera(name: str = "a", **changes: object) -> Device:
    return replace(make_device(name), samples_consent=True, **changes)  # type: ignore[arg-type]


def decision(decided_at_ms: int, *, device_id: str = "a", outcome: str = "failed", number: int = 0) -> Decision:
    return Decision(
        id=f"d{number}-{decided_at_ms}",
        policy="keep",
        device_id=device_id,
        model_digest=OLD,
        action="distill_again",
        reason="",
        evidence_json="{}",
        decided_at_ms=decided_at_ms,
        outcome=outcome,
    )


BAD = {"labelled": 400, "correct": 240}
NOW = 10_000_000


def look(
    window: WindowTotals,
    streaks: tuple[Streak, ...] = (),
    *,
    device: Device | None = None,
    decisions: tuple[Decision, ...] = (),
    jobs: tuple[Job, ...] = (),
    samples: dict[str, int] | None = None,
    policy: RecompressionPolicySpec = POLICY,
    first: WindowTotals | None = None,
    in_rollout: frozenset[str] = frozenset(),
) -> tuple[Keep | Recompress, tuple[Streak, ...]]:
    (verdict,), after = decide(
        {"a": telemetry(window, first)},
        [device or camera()],
        jobs,
        decisions,
        policy,
        ENOUGH if samples is None else samples,
        streaks,
        NOW,
        in_rollout=in_rollout,
    )
    return verdict, after


def second_look(window: WindowTotals | None = None, **known: object) -> Keep | Recompress:
    """The verdict after an earlier look that fired already."""
    _, streaks = look(totals(1000, **BAD))
    verdict, _ = look(window or totals(2000, **BAD), streaks, **known)  # type: ignore[arg-type]
    return verdict


def test_accuracy_below_the_floor_in_two_looks_starts_a_job_and_says_why() -> None:
    verdict = second_look()
    assert isinstance(verdict, Recompress)
    assert (verdict.action, verdict.goal, verdict.trigger) == ("distill_again", "accuracy", Trigger.ACCURACY)
    assert "accuracy 0.600 on 400 labelled requests, below 0.6" in verdict.reason
    assert "floor 0.800, in 2 looks in a row: distil again with 500 samples" in verdict.reason


def test_one_look_is_not_enough() -> None:
    verdict, streaks = look(totals(1000, **BAD))
    assert isinstance(verdict, Keep)
    assert "seen in 1 of 2 looks" in verdict.reason
    assert {streak.trigger: streak.count for streak in streaks}[Trigger.ACCURACY] == 1


def test_looking_twice_at_the_same_data_counts_once() -> None:
    assert isinstance(second_look(totals(1000, **BAD)), Keep)


def test_a_point_estimate_below_the_floor_is_not_enough() -> None:
    unsure = totals(2000, labelled=120, correct=94)
    verdict = second_look(unsure)
    assert isinstance(verdict, Keep)
    assert "accuracy 0.783 on 120 labelled requests, floor 0.800" in verdict.reason


def test_few_labels_say_nothing() -> None:
    verdict = second_look(totals(2000, labelled=60, correct=0))
    assert isinstance(verdict, Keep)
    assert "60 of at least 100 labelled requests" in verdict.reason


def test_a_look_in_between_keeps_the_count_and_recovery_starts_it_over() -> None:
    _, one = look(totals(1000, **BAD))
    _, between = look(totals(2000, labelled=1000, correct=810), one)
    assert isinstance(look(totals(3000, **BAD), between)[0], Recompress)
    _, recovered = look(totals(2000, labelled=1000, correct=900), one)
    assert isinstance(look(totals(3000, **BAD), recovered)[0], Keep)


def test_another_model_starts_with_a_clean_record() -> None:
    _, streaks = look(totals(1000, **BAD))
    verdict, _ = look(totals(2000, **BAD), streaks, device=camera(running_digest=NEW))
    assert isinstance(verdict, Keep)


def test_p95_above_the_budget_asks_for_a_faster_candidate() -> None:
    slow = {"p95_ms": 8.0, "labelled": 400, "correct": 380}
    _, streaks = look(totals(1000, **slow))  # type: ignore[arg-type]
    verdict, _ = look(totals(2000, **slow), streaks, samples={})  # type: ignore[arg-type]
    assert isinstance(verdict, Recompress)
    assert (verdict.action, verdict.goal) == ("faster_candidate", "latency")
    assert "budget 5.000 ms" in verdict.reason


def test_confidence_that_sank_fires_and_confidence_that_rose_does_not() -> None:
    sure, unsure = (0,) * 30 + (100, 900), (0,) * 15 + (600, 0) + (0,) * 13 + (200, 200)
    labelled = {"labelled": 400, "correct": 380}
    first = totals(10, histogram=sure)
    _, streaks = look(totals(1000, histogram=unsure, **labelled), first=first)
    verdict, _ = look(totals(2000, histogram=unsure, **labelled), streaks, first=first)
    assert isinstance(verdict, Recompress)
    assert verdict.trigger is Trigger.CONFIDENCE_DRIFT
    backwards, _ = look(totals(2000, histogram=sure, **labelled), streaks, first=totals(10, histogram=unsure))
    assert isinstance(backwards, Keep)


def test_unchanged_confidence_rarely_fires() -> None:
    rng = random.Random(3)

    def draw(n: int) -> tuple[int, ...]:
        picks = [min(31, int(32 * rng.betavariate(5, 1.5))) for _ in range(n)]
        return tuple(picks.count(bin_) for bin_ in range(32))

    policy = replace(
        POLICY,
        triggers=replace(POLICY.triggers, confidence_drift=replace(POLICY.triggers.confidence_drift, distance=0.01)),
    )
    fired = 0
    for number in range(200):
        first = totals(10, histogram=draw(600))
        _, streaks = look(totals(1000 + number, histogram=draw(600)), first=first, policy=policy)
        fired += any(streak.count for streak in streaks if streak.trigger is Trigger.CONFIDENCE_DRIFT)
    assert fired <= 2


def test_the_sinking_distance_is_one_sided() -> None:
    assert sinking_distance((0, 0, 10), (10, 0, 0)) == 1.0
    assert sinking_distance((10, 0, 0), (0, 0, 10)) == 0.0
    assert sinking_distance((5, 5), (6, 4)) == pytest.approx(0.1)


def test_it_waits_for_samples_and_says_how_many() -> None:
    verdict = second_look(samples={"a": 120})
    assert isinstance(verdict, Keep)
    assert "waits for samples: 120 of 300 returned" in verdict.reason
    assert verdict.samples_wanted == 680


def test_samples_are_asked_for_at_the_first_sign_and_not_before_or_while_it_cools_down() -> None:
    first, _ = look(totals(1000, **BAD), samples={"a": 0})
    assert isinstance(first, Keep)
    assert first.samples_wanted == 800
    healthy, _ = look(totals(1000, labelled=400, correct=380), samples={"a": 0})
    assert isinstance(healthy, Keep)
    assert healthy.samples_wanted == 0
    cooling = second_look(decisions=(decision(NOW - 50_000),), samples={"a": 0})
    assert isinstance(cooling, Keep)
    assert cooling.samples_wanted == 0
    unwilling, _ = look(totals(1000, **BAD), samples={}, device=replace(camera(), samples_consent=False))
    assert isinstance(unwilling, Keep)
    assert unwilling.samples_wanted == 0


def test_a_device_near_the_threshold_is_not_asked_to_start_and_stop_by_turns() -> None:
    _, streaks = look(totals(1000, **BAD))
    between, _ = look(totals(2000, labelled=400, correct=322), streaks=streaks, samples={"a": 100})
    assert isinstance(between, Keep)
    assert between.samples_wanted == 700
    recovered, _ = look(totals(3000, labelled=400, correct=380), streaks=streaks, samples={"a": 100})
    assert isinstance(recovered, Keep)
    assert recovered.samples_wanted == 0


def test_without_consent_it_says_that_nothing_can_be_distilled_on() -> None:
    verdict = second_look(samples={}, device=replace(camera(), samples_consent=False))
    assert isinstance(verdict, Keep)
    assert "allows no samples" in verdict.reason


def test_it_cools_down_after_a_decision_about_the_same_device() -> None:
    verdict = second_look(decisions=(decision(NOW - 50_000),))
    assert isinstance(verdict, Keep)
    assert "cools down for another 70 s" in verdict.reason
    assert isinstance(second_look(decisions=(decision(NOW - 50_000, device_id="b"),)), Recompress)
    assert isinstance(second_look(decisions=(decision(NOW - 121_000),)), Recompress)


def test_the_budget_counts_decisions_of_the_last_stretch_only() -> None:
    spent = tuple(decision(NOW - 1_000_000, device_id="b", number=n) for n in range(2))
    verdict = second_look(decisions=spent)
    assert isinstance(verdict, Keep)
    assert "budget used up: 2 of 2 in 3600 s" in verdict.reason
    older = tuple(decision(NOW - 4_000_000, device_id="b", number=n) for n in range(2))
    assert isinstance(second_look(decisions=older), Recompress)


def test_it_holds_to_the_cap_on_recompressions_under_way() -> None:
    verdict = second_look(decisions=(decision(NOW - 1_000_000, device_id="b", outcome="running"),))
    assert isinstance(verdict, Keep)
    assert "1 of 1 recompressions are under way" in verdict.reason


def test_a_job_still_running_counts_though_its_decision_has_ended() -> None:
    ended = decision(NOW - 1_000_000, device_id="b")
    job = Job(id="j", name="n", spec_yaml="", working_dir_digest="", state=JobState.RUNNING, decision_id=ended.id)
    assert isinstance(second_look(decisions=(ended,), jobs=(job,)), Keep)


def test_decisions_of_other_policies_do_not_count() -> None:
    other = replace(decision(NOW - 1000, outcome="running"), policy="another")
    assert isinstance(second_look(decisions=(other,)), Recompress)


def test_a_device_in_a_rollout_is_left_alone() -> None:
    verdict = second_look(in_rollout=frozenset({"a"}))
    assert isinstance(verdict, Keep)
    assert "waits for the rollout" in verdict.reason
    trying = camera(action_state=ActionState.PROBATION)
    assert trying.assignment is not None
    trying = replace(trying, assignment=replace(trying.assignment, model_digest=NEW))
    assert isinstance(second_look(device=trying), Keep)


def test_of_two_devices_in_trouble_one_goes_first_and_next_time_the_other() -> None:
    seen = {name: telemetry(totals(2000, **BAD)) for name in ("a", "b")}
    devices = [camera("a"), camera("b")]
    fired = [
        Streak(device_id=name, model_digest=OLD, trigger=Trigger.ACCURACY, count=1, until_ms=1000)
        for name in ("a", "b")
    ]
    verdicts, _ = decide(seen, devices, (), (), POLICY, ENOUGH, fired, NOW)
    assert [type(verdict) for verdict in verdicts] == [Recompress, Keep]
    past = (decision(NOW - 200_000, device_id="a"),)
    verdicts, _ = decide(seen, devices, (), past, POLICY, ENOUGH, fired, NOW)
    assert [verdict.device_id for verdict in verdicts if isinstance(verdict, Recompress)] == ["b"]


def test_devices_that_the_policy_is_not_about_are_not_judged() -> None:
    policy = replace(POLICY, device_classes=("phone",))
    assert decide({}, [camera()], (), (), policy, {}, (), NOW) == ((), ())
    elsewhere = replace(POLICY, model_name="other")
    assert decide({}, [camera()], (), (), elsewhere, {}, (), NOW) == ((), ())


def test_a_recorded_decision_replays_to_the_same() -> None:
    verdict = second_look()
    assert isinstance(verdict, Recompress)
    recorded = replace(
        decision(NOW),
        action=verdict.action,
        reason=verdict.reason,
        evidence_json=verdict.evidence_json,
        model_digest=verdict.evidence.model_digest,
    )
    replayed = replay(recorded)
    assert replayed == verdict
    assert is_same(recorded, replayed)


def test_a_record_whose_evidence_was_changed_does_not_replay_to_the_same() -> None:
    verdict = second_look()
    assert isinstance(verdict, Recompress)
    evidence = json.loads(verdict.evidence_json)
    evidence["seen"]["accuracy"]["labelled_correct"] = 390
    recorded = replace(decision(NOW), action=verdict.action, reason=verdict.reason, evidence_json=json.dumps(evidence))
    assert not is_same(recorded, replay(recorded))


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"version": 1}', '{"version": 1, "seen": {}, "first": {}}', "null"])
def test_evidence_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(EvidenceError):
        replay(replace(decision(NOW), evidence_json=text))


def test_evidence_that_contradicts_itself_is_refused() -> None:
    verdict = second_look()
    assert isinstance(verdict, Recompress)
    evidence = json.loads(verdict.evidence_json)
    evidence["seen"]["accuracy"]["labelled_correct"] = 10**9
    with pytest.raises(EvidenceError, match="contradicts"):
        replay(replace(decision(NOW), evidence_json=json.dumps(evidence)))
