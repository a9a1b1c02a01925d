"""What is chosen when a job repairs, or looks for something faster."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.jobs.selection import baseline_p95_us, choose_for_repair, targets_of, with_narrower
from orchestrator.records import Candidate, Measurement
from orchestrator.spec import CandidateSpec, PruneSpec, TargetSpec


def measured(device_class: str, p95_us: float) -> Measurement:
    return Measurement(
        device_class=device_class,
        engine_path="portable",
        latency_p50_us=p95_us / 2,
        latency_p95_us=p95_us,
        runs=20,
        peak_ram_bytes=100,
    )


def candidate(name: str, accuracy: float) -> Candidate:
    return Candidate(
        name=name,
        model_digest=name * 64,
        accuracy=accuracy,
        model_bytes=1000,
        peak_ram_bytes=100,
        measurements=(measured("gateway", 900.0),),
    )


def test_a_repair_is_chosen_by_both_worlds_not_by_the_old_one_alone() -> None:
    choice = choose_for_repair(
        [candidate("a", 0.92), candidate("b", 0.90)],
        [TargetSpec(device_class="gateway", accuracy_floor=0.8)],
        {"a": 0.50, "b": 0.75},
    )
    assert [chosen.model_digest for chosen in choice.chosen] == ["b" * 64]
    assert "accuracy 0.7500 on held-out returned samples" in choice.candidates[1].verdict
    assert choice.candidates[1].accuracy == 0.90  # what is reported stays the choose split's
    assert "accuracy 0.9000" in choice.words
    assert "accuracy 0.7500 on held-out returned samples" in choice.words
    assert choice.candidates[1].chosen_for == ("gateway",)


def test_a_repair_that_forgot_what_it_knew_is_not_chosen_however_good_it_is_in_the_new_world() -> None:
    choice = choose_for_repair(
        [candidate("a", 0.85), candidate("b", 0.60)],
        [TargetSpec(device_class="gateway", accuracy_floor=0.8)],
        {"a": 0.50, "b": 0.99},
    )
    assert [chosen.model_digest for chosen in choice.chosen] == ["a" * 64]
    assert "below the floor" in choice.candidates[1].verdict


def test_a_repair_that_fell_far_below_its_float_network_is_not_chosen_either() -> None:
    fallen = replace(candidate("b", 0.88), fp32_accuracy=0.93)
    choice = choose_for_repair(
        [replace(candidate("a", 0.92), fp32_accuracy=0.93), fallen],
        [TargetSpec(device_class="gateway", accuracy_floor=0.8)],
        {"a": 0.50, "b": 0.99},
    )
    assert [chosen.model_digest for chosen in choice.chosen] == ["a" * 64]
    assert "0.0500 below its float network's" in choice.candidates[1].verdict


def test_a_repair_without_any_candidate_above_the_floor_is_infeasible() -> None:
    choice = choose_for_repair(
        [candidate("a", 0.5)], [TargetSpec(device_class="gateway", accuracy_floor=0.8)], {"a": 0.9}
    )
    assert not choice.is_feasible
    assert "nearest" in choice.words


def test_something_faster_is_sought_among_narrower_networks() -> None:
    specs = (
        CandidateSpec(name="int8"),
        CandidateSpec(name="int8-pruned", prune=PruneSpec(macs_fraction=0.5, epochs=0)),
    )
    assert with_narrower(specs) == (
        *specs,
        CandidateSpec(name="int8-pruned-narrower", prune=PruneSpec(macs_fraction=0.25, epochs=1)),
    )


def test_where_nothing_is_pruned_yet_everything_is_tried_at_half_the_multiplications() -> None:
    (_, narrower) = with_narrower([CandidateSpec(name="int8")])
    assert narrower.name == "int8-narrower"
    assert narrower.prune is not None
    assert abs(narrower.prune.macs_fraction - 0.5) < 1e-6


def test_only_the_class_that_is_too_slow_gets_another_model() -> None:
    targets = [TargetSpec(device_class="gateway"), TargetSpec(device_class="sensor"), TargetSpec(device_class="*")]
    assert targets_of(targets, "sensor") == (targets[1],)
    assert targets_of(targets, "unheard-of") == (targets[2],)
    assert targets_of(targets[:2], "unheard-of") == tuple(targets[:2])


def test_the_baseline_is_what_the_slowest_device_of_a_target_measured() -> None:
    running = [measured("gateway", 900.0), measured("sensor", 4000.0)]
    targets = [TargetSpec(device_class="gateway"), TargetSpec(device_class="*"), TargetSpec(device_class="hub")]
    assert baseline_p95_us(running, targets) == {"gateway": 900.0, "*": 4000.0}
