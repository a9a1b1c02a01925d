"""What is measured before a choice is made, and what a measurement says of the models that were not."""

from __future__ import annotations

from orchestrator.jobs.class_tables import ClassTables
from orchestrator.jobs.confirmation import NEAREST, Confirmation
from orchestrator.jobs.measure import Measured
from orchestrator.jobs.trial_judge import TrialJudge
from orchestrator.records import Candidate, Measurement, Refusal
from orchestrator.spec import TargetSpec


def on_camera(p95_ms: float) -> Measurement:
    return Measurement(
        device_class="camera",
        engine_path="avx2",
        latency_p50_us=900 * p95_ms,
        latency_p95_us=1000 * p95_ms,
        runs=50,
        peak_ram_bytes=1000,
    )


def predicted(name: str, accuracy: float, p95_ms: float) -> Candidate:
    return Candidate(
        name=name,
        model_digest=name.rjust(64, "0"),
        accuracy=accuracy,
        model_bytes=1000,
        peak_ram_bytes=1000,
        measurements=(on_camera(p95_ms),),
    )


LADDER = tuple(predicted(f"m{index}", 0.95 - 0.01 * index, 2.0 - 0.1 * index) for index in range(10))
"""Each a percent less accurate and 0.1 ms faster than the one before."""


def confirmation(*targets: TargetSpec, candidates: tuple[Candidate, ...] = LADDER) -> Confirmation:
    return Confirmation(candidates, TrialJudge(targets, ClassTables({}), {}))


def test_what_a_target_would_get_is_measured_first() -> None:
    assert confirmation(TargetSpec(device_class="camera", latency_p95_ms=1.85)).for_targets() == ["m2"]


def test_a_table_that_was_wrong_about_one_is_taken_to_be_as_wrong_about_the_others() -> None:
    rounds = confirmation(TargetSpec(device_class="camera", latency_p95_ms=1.85))
    rounds.learn("m2", Measured([on_camera(1.8 * 1.25)]))
    assert rounds.for_targets() == ["m6"]  # 1.25 x 1.4 ms is within the limit, 1.25 x 1.5 ms is not
    rounds.learn("m6", Measured([on_camera(1.4 * 1.25)]))
    assert rounds.for_targets() == ["m6"]


def test_tables_that_were_too_careful_bring_a_better_model_within_the_limit() -> None:
    rounds = confirmation(TargetSpec(device_class="camera", latency_p95_ms=1.85))
    rounds.learn("m2", Measured([on_camera(1.8 * 0.9)]))
    assert rounds.for_targets() == ["m0"]


def test_what_was_measured_is_not_corrected_once_more() -> None:
    rounds = confirmation(TargetSpec(device_class="camera", latency_p95_ms=1.85))
    rounds.learn("m2", Measured([on_camera(1.84)]))
    assert rounds.for_targets() == ["m2"]


def test_a_model_that_devices_refuse_makes_way_for_the_next() -> None:
    rounds = confirmation(TargetSpec(device_class="camera"))
    rounds.learn("m0", Measured(refusals=[Refusal(device_class="camera", error="too little memory")]))
    assert rounds.for_targets() == ["m1"]


def test_where_none_meets_a_target_the_nearest_are_measured() -> None:
    rounds = confirmation(TargetSpec(device_class="camera", latency_p95_ms=0.5))
    assert rounds.for_targets() == ["m9", "m8", "m7", "m6"][:NEAREST]
