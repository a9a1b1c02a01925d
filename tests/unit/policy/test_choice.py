"""Which candidate a device class gets, and what is said where none fits."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.policy.choice import choose, keeps_accuracy, pareto_front, point_for
from orchestrator.records import Candidate, Measurement, Refusal
from orchestrator.spec import TargetSpec


def candidate(name: str, accuracy: float, p95_ms: float | None, size: int, ram: int = 1000) -> Candidate:
    measurements = () if p95_ms is None else (measured("gateway", p95_ms, ram),)
    return Candidate(
        name=name,
        model_digest=name.rjust(64, "0"),
        accuracy=accuracy,
        model_bytes=size,
        peak_ram_bytes=ram,
        measurements=measurements,
    )


def measured(device_class: str, p95_ms: float, ram: int = 1000, *, on_control_plane: bool = False) -> Measurement:
    return Measurement(
        device_class=device_class,
        engine_path="portable",
        latency_p50_us=p95_ms * 800,
        latency_p95_us=p95_ms * 1000,
        runs=100,
        peak_ram_bytes=ram,
        on_control_plane=on_control_plane,
    )


FOUR = (
    candidate("int8", 0.90, 4.0, 100_000),
    candidate("pruned", 0.88, 2.0, 60_000),
    candidate("pow2-w8", 0.89, 4.5, 100_000),
    candidate("pow2-w4", 0.84, 4.4, 50_000),
)


@pytest.mark.parametrize(("objective", "name"), [("accuracy", "int8"), ("latency", "pruned"), ("bytes", "pow2-w4")])
def test_the_objective_decides_among_those_that_meet_every_limit(objective: str, name: str) -> None:
    choice = choose(FOUR, [TargetSpec(device_class="gateway", objective=objective)])  # type: ignore[arg-type]
    assert choice.classes[0].chosen is not None
    assert choice.classes[0].chosen.name == name
    assert choice.chosen[0].model_digest == name.rjust(64, "0")


def test_ram_is_an_objective_too() -> None:
    lean = candidate("lean", 0.86, 5.0, 120_000, ram=500)
    assert choose([*FOUR, lean], [TargetSpec(device_class="gateway", objective="ram")]).chosen[0].model_digest == (
        lean.model_digest
    )


def test_the_constraint_decides_before_the_objective() -> None:
    target = TargetSpec(device_class="gateway", accuracy_floor=0.85, latency_p95_ms=3.0)
    choice = choose(FOUR, [target])
    assert choice.classes[0].chosen is not None
    assert choice.classes[0].chosen.name == "pruned"
    verdicts = {c.name: c.verdict for c in choice.candidates}
    assert verdicts["int8"] == "gateway: p95 4.000 ms is 1.000 ms above 3.000 ms"
    assert "accuracy 0.8400 is 0.0100 below the floor 0.8500" in verdicts["pow2-w4"]
    assert verdicts["pruned"] == "gateway: chosen, best accuracy of 1 that meet every limit"
    assert [c.chosen_for for c in choice.candidates] == [(), ("gateway",), (), ()]


def test_what_lost_more_than_a_point_and_a_half_is_not_chosen_unless_the_target_asks_for_it() -> None:
    kept = replace(candidate("kept", 0.90, 5.0, 2000), fp32_accuracy=0.91)
    fallen = replace(candidate("fallen", 0.89, 1.0, 1000), fp32_accuracy=0.91)
    target = TargetSpec(device_class="a", objective="bytes")
    choice = choose([kept, fallen], [target])
    assert [c.chosen.name for c in choice.classes if c.chosen] == ["kept"]
    assert "0.0200 below its float network's, compressionDrop is 0.0150" in choice.candidates[1].verdict
    asked = choose([kept, fallen], [replace(target, compression_drop=0.03)])
    assert [c.chosen.name for c in asked.classes if c.chosen] == ["fallen"]


def test_a_candidate_that_another_beats_in_everything_is_not_on_the_front() -> None:
    choice = choose(FOUR, [TargetSpec(device_class="gateway")])
    assert choice.classes[0].front == ("int8", "pruned", "pow2-w4")
    assert {c.name: c.verdict for c in choice.candidates}["pow2-w8"] == "gateway: beaten in everything by int8"


def test_an_infeasible_target_names_the_nearest_points_and_what_blocks_them() -> None:
    target = TargetSpec(device_class="gateway", accuracy_floor=0.89, latency_p95_ms=3.9, model_bytes=90_000)
    choice = choose(FOUR, [target])
    assert not choice.is_feasible
    assert choice.chosen == ()
    assert "no candidate meets the limits; nearest: pruned: accuracy 0.8800 is 0.0100 below" in choice.words
    assert "int8: p95 4.000 ms is 0.100 ms above 3.900 ms; model 100000 bytes is 10000 above 90000" in choice.words


def test_ram_measured_on_the_device_counts_over_what_was_computed() -> None:
    hungry = candidate("int8", 0.9, 4.0, 10, ram=5000)
    assert not choose([hungry], [TargetSpec(device_class="gateway", ram_bytes=4000)]).is_feasible
    assert point_for(hungry, "gateway").ram_bytes == 5000


def test_a_latency_that_was_not_measured_meets_no_limit_but_blocks_only_where_there_is_one() -> None:
    unmeasured = candidate("int8", 0.9, None, 10)
    assert choose([unmeasured], [TargetSpec(device_class="gateway")]).is_feasible
    choice = choose([unmeasured], [TargetSpec(device_class="gateway", latency_p95_ms=5.0)])
    assert "latency is not measured on this class" in choice.words


@pytest.mark.parametrize("limit_ms", [None, 5.0])
def test_a_class_whose_devices_refused_a_model_does_not_get_it_whatever_else_is_known(limit_ms: float | None) -> None:
    refused = replace(
        candidate("int8", 0.9, 1.0, 10),
        refusals=(Refusal(device_class="sensor", error="sensor-1: needs 9 MiB of RAM"),),
    )
    targets = [TargetSpec(device_class=name, latency_p95_ms=limit_ms) for name in ("gateway", "sensor", "*")]
    choice = choose([refused], targets)
    assert [model.device_class for model in choice.chosen] == ["gateway"]
    blocked = "could not be measured on sensor: sensor-1: needs 9 MiB of RAM"
    assert [c.verdicts["int8"] for c in choice.classes[1:]] == [blocked, blocked]


def test_every_class_is_chosen_for_on_its_own_measurements() -> None:
    both = Candidate(
        name="both",
        model_digest="b" * 64,
        accuracy=0.9,
        model_bytes=10,
        peak_ram_bytes=10,
        measurements=(measured("gateway", 1.0), measured("phone", 9.0)),
    )
    targets = [TargetSpec(device_class=name, latency_p95_ms=5.0) for name in ("gateway", "phone")]
    choice = choose([both], targets)
    assert choice.is_feasible
    assert [model.device_class for model in choice.chosen] == ["gateway"]
    assert choice.candidates[0].chosen_for == ("gateway",)
    assert "phone: no candidate meets the limits" in choice.words
    assert point_for(both, "*").latency_p95_ms == 9.0


def test_a_stand_in_measurement_is_named_and_gives_way_to_the_device_s_own() -> None:
    stand_in = measured("gateway", 1.0, on_control_plane=True)
    only = Candidate(
        name="x", model_digest="x", accuracy=0.9, model_bytes=1, peak_ram_bytes=1, measurements=(stand_in,)
    )
    assert "on the control plane's CPU" in choose([only], [TargetSpec(device_class="gateway")]).words
    real = Candidate(
        name="x",
        model_digest="x",
        accuracy=0.9,
        model_bytes=1,
        peak_ram_bytes=1,
        measurements=(stand_in, measured("gateway", 7.0)),
    )
    assert point_for(real, "gateway").latency_p95_ms == 7.0


def test_looking_for_something_faster_leaves_out_what_is_not() -> None:
    target = TargetSpec(device_class="gateway", objective="accuracy")
    choice = choose(FOUR, [target], faster_than_us={"gateway": 4000.0})
    assert choice.classes[0].chosen is not None
    assert choice.classes[0].chosen.name == "pruned"
    assert not choose(FOUR, [target], faster_than_us={"gateway": 1500.0}).is_feasible


def test_without_candidates_nothing_is_chosen() -> None:
    assert "there are none" in choose([], [TargetSpec(device_class="*")]).words


points = st.builds(
    candidate,
    name=st.uuids().map(lambda u: u.hex),
    accuracy=st.sampled_from([0.7, 0.8, 0.9]),
    p95_ms=st.sampled_from([1.0, 2.0, 3.0]),
    size=st.sampled_from([10, 20, 30]),
    ram=st.sampled_from([1, 2]),
)


@given(st.lists(points, max_size=6, unique_by=lambda c: c.name))
def test_everything_off_the_front_is_beaten_by_something_on_it(pool: list[Candidate]) -> None:
    everything = [point_for(c, "gateway") for c in pool]
    front = pareto_front(everything)
    for point in everything:
        if point not in front:
            assert any(
                all(a <= b for a, b in zip(other.costs, point.costs, strict=True)) and other.costs != point.costs
                for other in front
            )


@given(
    st.lists(points, max_size=4, unique_by=lambda c: c.name), st.sampled_from(["accuracy", "latency", "bytes", "ram"])
)
def test_the_choice_does_not_depend_on_the_order_of_candidates(pool: list[Candidate], objective: str) -> None:
    target = TargetSpec(device_class="gateway", objective=objective)  # type: ignore[arg-type]
    chosen = {choose(order, [target]).chosen for order in itertools.permutations(pool)}
    assert len(chosen) == 1


def test_a_candidate_that_loses_exactly_what_is_allowed_meets_its_target() -> None:
    at_the_limit = replace(candidate("w4", 0.5, 1.0, 1_000), fp32_accuracy=0.515)
    below = replace(at_the_limit, accuracy=0.499)
    target = TargetSpec(device_class="gateway", compression_drop=0.015)
    assert keeps_accuracy(at_the_limit, target)
    assert choose((at_the_limit,), [target]).classes[0].chosen == at_the_limit
    assert not keeps_accuracy(below, target)
    assert choose((below,), [target]).classes[0].chosen is None
