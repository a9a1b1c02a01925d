"""Rollouts: waves in order, gates between them, and an end whatever devices do."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.policy.actions import Commit, Revert, Start
from orchestrator.policy.rollout import MAX_IN_FLIGHT, cancel, roll_back, step
from orchestrator.policy.waves import plan_waves
from orchestrator.records import (
    ActionState,
    Assignment,
    ClassModel,
    Device,
    Gate,
    PairCounts,
    Rollout,
    RolloutOutcome,
    RolloutState,
    RolloutTerms,
)
from tests.unit.policy.fleet_simulation import BEHAVIOURS, NEW, OLD, SimulatedDevice, make_device, simulate

EVERYWHERE = (ClassModel(device_class="*", model_digest=NEW),)
GOOD = PairCounts(pairs=400, agreements=300, both_correct=300, only_new_correct=80, only_old_correct=10, both_wrong=10)
BAD = PairCounts(pairs=400, agreements=300, both_correct=300, only_new_correct=10, only_old_correct=80, both_wrong=10)


def make_rollout(devices: list[Device], requester: str | None = None, **changes: object) -> Rollout:
    waves = plan_waves(devices, EVERYWHERE, requester, seed="r1", model_name="m")
    rollout = Rollout(
        id="r1", model_name="m", models=EVERYWHERE, terms=RolloutTerms(), waves=waves, created_at_ms=0, updated_at_ms=0
    )
    return replace(rollout, **changes)  # type: ignore[arg-type]


def by_id(*devices: Device) -> dict[str, Device]:
    return {device.id: device for device in devices}


def given_to(device: Device, start: Start | Revert, state: ActionState, pairs: PairCounts | None = None) -> Device:
    """The device after it was told and has come as far as `state`."""
    assignment = Assignment(
        device_id=device.id,
        generation=start.generation,
        action_id=f"x{start.generation}",
        model_name="m",
        model_digest=start.digest,
        model_size_bytes=1,
    )
    return replace(device, assignment=assignment, action_id=assignment.action_id, action_state=state, pairs=pairs)


class TestPlan:
    def test_the_requester_goes_first_then_one_healthy_device_then_the_rest(self) -> None:
        waves = plan_waves([make_device(name) for name in "abcde"], EVERYWHERE, "c", seed="s", model_name="m")
        assert [(wave.name, wave.gate) for wave in waves] == [
            ("requester", Gate.BETTER),
            ("healthy", Gate.NOT_WORSE),
            ("rest", Gate.NOT_WORSE),
        ]
        assert [entry.device_id for entry in waves[0].devices] == ["c"]
        assert len(waves[1].devices) == 1
        assert sorted(entry.device_id for wave in waves for entry in wave.devices) == list("abcde")

    def test_where_nobody_asked_one_device_goes_first(self) -> None:
        waves = plan_waves([make_device(name) for name in "abc"], EVERYWHERE, None, seed="s", model_name="m")
        assert [wave.name for wave in waves] == ["first", "rest"]

    def test_devices_without_a_model_only_have_to_activate_it(self) -> None:
        waves = plan_waves([make_device(name, running="") for name in "ab"], EVERYWHERE, None)
        assert {wave.gate for wave in waves} == {Gate.ACTIVATES}

    def test_a_device_that_runs_another_model_has_nothing_to_compare_with(self) -> None:
        waves = plan_waves([make_device("a")], EVERYWHERE, None, model_name="other")
        assert waves[0].devices[0].previous_digest == ""

    def test_devices_of_other_classes_and_those_that_have_it_are_left_out(self) -> None:
        devices = [make_device("a"), make_device("b", device_class="phone"), make_device("c", running=NEW)]
        waves = plan_waves(devices, (ClassModel(device_class="gateway", model_digest=NEW),), None)
        assert [entry.device_id for wave in waves for entry in wave.devices] == ["a"]

    def test_the_healthy_device_is_online_and_has_labels(self) -> None:
        devices = [make_device(name, online=name != "b") for name in "abcdef"]
        for seed in "123456":
            waves = plan_waves(devices, EVERYWHERE, "a", seed=seed, model_name="m", labelled={"b": 90, "d": 50})
            assert [entry.device_id for entry in waves[1].devices] == ["d"]

    def test_a_class_of_its_own_wins_over_every_class(self) -> None:
        models = (*EVERYWHERE, ClassModel(device_class="phone", model_digest="c" * 64))
        waves = plan_waves([make_device("a", device_class="phone")], models, None)
        assert waves[0].devices[0].model_digest == "c" * 64

    def test_without_probation_every_gate_is_activation(self) -> None:
        waves = plan_waves([make_device(name) for name in "abc"], EVERYWHERE, None, skip_probation=True)
        assert {wave.gate for wave in waves} == {Gate.ACTIVATES}


class TestStep:
    def test_only_the_requester_starts_at_first_with_the_terms_of_the_rollout(self) -> None:
        devices = [make_device(name) for name in "abc"]
        rollout, actions = step(make_rollout(devices, "b"), by_id(*devices), 1000)
        assert [action.device_id for action in actions] == ["b"]
        (start,) = actions
        assert isinstance(start, Start)
        assert start.generation == 2
        assert start.probation is not None
        assert start.probation.timeout_s == rollout.terms.probation_timeout_s

    def test_a_second_look_with_nothing_new_does_nothing(self) -> None:
        devices = [make_device(name) for name in "abc"]
        rollout, _ = step(make_rollout(devices, "b"), by_id(*devices), 1000)
        again, actions = step(rollout, by_id(*devices), 2000)
        assert again == rollout
        assert actions == ()

    def test_a_pass_commits_and_starts_the_next_wave_in_one_step(self) -> None:
        b, a = make_device("b"), make_device("a")
        rollout, (start,) = step(make_rollout([a, b], "b"), by_id(a, b), 1000)
        assert isinstance(start, Start)
        b = given_to(b, start, ActionState.PROBATION, GOOD)
        rollout, actions = step(rollout, by_id(a, b), 3000)
        assert [type(action) for action in actions] == [Commit, Start]
        assert rollout.waves[0].devices[0].outcome is RolloutOutcome.PASSED
        assert "better" in rollout.waves[0].devices[0].verdict

    def test_a_worse_model_is_taken_back_from_every_device_and_nobody_else_starts(self) -> None:
        devices = [make_device(name) for name in "abc"]
        rollout, (start,) = step(make_rollout(devices, "a"), by_id(*devices), 1000)
        assert isinstance(start, Start)
        a = given_to(devices[0], start, ActionState.PROBATION, BAD)
        rollout, actions = step(rollout, by_id(a, *devices[1:]), 3000)
        assert actions == (Revert("a", OLD, 3),)
        assert rollout.state is RolloutState.ROLLED_BACK
        assert "worse" in rollout.message

    def test_what_a_device_said_about_an_earlier_action_is_not_about_this_one(self) -> None:
        a = replace(make_device("a"), pairs=BAD)
        rollout, (start,) = step(make_rollout([a], "a"), by_id(a), 1000)
        assert isinstance(start, Start)
        told = replace(given_to(a, start, ActionState.ROLLED_BACK, BAD), action_id="first-a")
        after, actions = step(rollout, by_id(told), 2000)
        assert after.state is RolloutState.RUNNING
        assert actions == ()

    def test_a_device_that_is_busy_is_left_to_end_that_first(self) -> None:
        a = replace(make_device("a"), action_state=ActionState.PROBATION)
        rollout, actions = step(make_rollout([a], None), by_id(a), 1000)
        assert actions == ()
        rollout, actions = step(rollout, by_id(replace(a, action_state=ActionState.COMMITTED)), 2000)
        assert [type(action) for action in actions] == [Start]

    def test_the_requester_being_away_for_good_ends_it_untouched(self) -> None:
        a, b = make_device("a", online=False), make_device("b")
        rollout = make_rollout([a, b], "a")
        rollout, _ = step(rollout, by_id(a, b), 1000)
        rollout, actions = step(rollout, by_id(a, b), 1000 + 121_000)
        assert rollout.state is RolloutState.HALTED
        assert actions == ()
        assert "nobody passed wave requester: a offline" in rollout.message

    def test_a_device_of_the_rest_that_is_away_does_not_hold_up_the_end(self) -> None:
        a, b = make_device("a", running=""), make_device("b", running="", online=False)
        rollout, (start,) = step(make_rollout([a, b]), by_id(a, b), 1000)
        assert isinstance(start, Start)
        a = replace(given_to(a, start, ActionState.COMMITTED), running_digest=NEW)
        rollout, _ = step(rollout, by_id(a, b), 2000)
        assert rollout.state is RolloutState.RUNNING
        rollout, _ = step(rollout, by_id(a, b), 2000 + 121_000)
        assert rollout.state is RolloutState.SUCCEEDED
        assert rollout.message.startswith("1 of 2 devices have the model; b offline")

    def test_the_last_wave_outlives_a_device_whose_probation_ran_out_with_nothing_shown(self) -> None:
        devices = [make_device(name) for name in "abc"]
        rollout, (start,) = step(make_rollout(devices, "a"), by_id(*devices), 0)
        known = by_id(*devices)
        for now_ms in (2000, 4000):
            assert isinstance(start, Start)
            known[start.device_id] = given_to(known[start.device_id], start, ActionState.COMMITTED, GOOD)
            rollout, actions = step(rollout, known, now_ms)
            start = next(action for action in actions if isinstance(action, Start))
        known[start.device_id] = given_to(known[start.device_id], start, ActionState.ROLLED_BACK, PairCounts())
        rollout, actions = step(rollout, known, 4000 + 121_000)
        assert rollout.state is RolloutState.SUCCEEDED
        assert actions == ()
        assert rollout.waves[2].devices[0].outcome is RolloutOutcome.KEPT_PREVIOUS

    def test_a_device_that_was_given_something_else_meanwhile_is_left_alone(self) -> None:
        a = make_device("a")
        rollout, (start,) = step(make_rollout([a], "a"), by_id(a), 1000)
        assert isinstance(start, Start)
        newer = Start("a", "c" * 64, start.generation + 1, None)
        a = given_to(a, newer, ActionState.DOWNLOADING)
        rollout, actions = step(rollout, by_id(a), 2000)
        assert rollout.state.is_terminal
        assert actions == ()

    def test_it_waits_for_confirmation_but_not_for_ever(self) -> None:
        a = make_device("a")
        rollout, (start,) = step(make_rollout([a], "a"), by_id(a), 1000)
        assert isinstance(start, Start)
        a = given_to(a, start, ActionState.PROBATION, GOOD)
        rollout, _ = step(rollout, by_id(a), 60_000)
        assert rollout.state is RolloutState.RUNNING
        confirmed, _ = step(rollout, by_id(replace(a, action_state=ActionState.COMMITTED)), 62_000)
        assert confirmed.state is RolloutState.SUCCEEDED
        silent, _ = step(rollout, by_id(a), 60_000 + 31_000)
        assert silent.state is RolloutState.SUCCEEDED

    def test_a_device_that_fails_after_it_passed_takes_the_rollout_back(self) -> None:
        a, b = make_device("a"), make_device("b")
        rollout, (start,) = step(make_rollout([a, b], "a"), by_id(a, b), 1000)
        assert isinstance(start, Start)
        a = given_to(a, start, ActionState.PROBATION, GOOD)
        rollout, _ = step(rollout, by_id(a, b), 2000)
        rollout, actions = step(rollout, by_id(replace(a, action_state=ActionState.ROLLED_BACK), b), 3000)
        assert rollout.state is RolloutState.ROLLED_BACK
        assert [action.device_id for action in actions if isinstance(action, Revert)] == ["a", "b"]

    def test_no_more_than_the_limit_are_under_way_at_once(self) -> None:
        devices = [make_device(f"d{n:03}", running="") for n in range(2 * MAX_IN_FLIGHT + 1)]
        rollout, (start,) = step(make_rollout(devices), by_id(*devices), 0)
        assert isinstance(start, Start)
        known = by_id(*devices)
        known[start.device_id] = given_to(known[start.device_id], start, ActionState.COMMITTED)
        rollout, actions = step(rollout, known, 1000)
        assert len(actions) == MAX_IN_FLIGHT

    def test_without_devices_it_succeeds_at_once(self) -> None:
        rollout, actions = step(make_rollout([]), {}, 0)
        assert rollout.state is RolloutState.SUCCEEDED
        assert actions == ()


class TestByHand:
    def test_rolling_back_gives_everyone_the_previous_model_as_a_new_generation(self) -> None:
        a = make_device("a")
        rollout, (start,) = step(make_rollout([a], None), by_id(a), 1000)
        assert isinstance(start, Start)
        a = given_to(a, start, ActionState.COMMITTED)
        rollout, _ = step(rollout, by_id(a), 2000)
        assert rollout.state is RolloutState.SUCCEEDED
        back, actions = roll_back(rollout, by_id(a), 3000, "by hand")
        assert actions == (Revert("a", OLD, start.generation + 1),)
        assert back.state is RolloutState.ROLLED_BACK

    def test_cancelling_keeps_those_that_passed_and_takes_it_from_those_on_probation(self) -> None:
        a, b = make_device("a"), make_device("b")
        rollout, (first,) = step(make_rollout([a, b], "a"), by_id(a, b), 1000)
        assert isinstance(first, Start)
        a = given_to(a, first, ActionState.COMMITTED, GOOD)
        rollout, (second,) = step(rollout, by_id(a, b), 2000)
        assert isinstance(second, Start)
        b = given_to(b, second, ActionState.PROBATION, PairCounts())
        cancelled, actions = cancel(rollout, by_id(a, b), 3000)
        assert cancelled.state is RolloutState.CANCELLED
        assert actions == (Revert("b", OLD, second.generation + 1),)
        assert cancel(cancelled, by_id(a, b), 4000) == (cancelled, ())


def make_fleet(behaviours: list[str], have_model: list[bool], seed: int) -> dict[str, SimulatedDevice]:
    fleet = {}
    for n, (behaviour, has_model) in enumerate(zip(behaviours, have_model, strict=True)):
        device = make_device(f"d{n:04}", running=OLD if has_model else "", online=behaviour != "offline")
        fleet[device.id] = SimulatedDevice(device, behaviour, random.Random(seed * 7919 + n))
    return fleet


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(BEHAVIOURS), st.booleans()), min_size=1, max_size=10),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_every_rollout_ends_and_its_invariants_hold_whatever_devices_do(
    members: list[tuple[str, bool]], is_asked_for: bool, seed: int
) -> None:
    """Generations only rise, nobody starts twice or after the end, no wave overtakes another, and there is an end."""
    fleet = make_fleet([behaviour for behaviour, _ in members], [has for _, has in members], seed)
    requester = "d0000" if is_asked_for else None
    rollout = make_rollout([simulated.device for simulated in fleet.values()], requester)
    ended = simulate(rollout, fleet, limit_s=4 * 3600)
    entries = [entry for wave in ended.waves for entry in wave.devices]
    if any(entry.outcome is RolloutOutcome.FAILED for entry in entries):
        assert ended.state in (RolloutState.ROLLED_BACK, RolloutState.HALTED)
        for entry in entries:
            device = fleet[entry.device_id].device
            if entry.generation and entry.previous_digest and device.assignment:
                assert device.assignment.model_digest == entry.previous_digest
    if ended.state is RolloutState.SUCCEEDED and is_asked_for and members[0][1]:
        assert entries[0].outcome is RolloutOutcome.PASSED


def test_a_thousand_good_devices_all_get_the_model() -> None:
    fleet = make_fleet(["good"] * 1000, [True] * 1000, seed=1)
    rollout = make_rollout([simulated.device for simulated in fleet.values()], "d0000")
    ended = simulate(rollout, fleet, limit_s=4 * 3600)
    assert ended.state is RolloutState.SUCCEEDED
    assert ended.message.startswith("1000 of 1000")


def test_one_bad_device_among_many_stops_a_rollout_that_reaches_no_more_than_the_limit_further() -> None:
    fleet = make_fleet(["good"] * 199 + ["worse"], [True] * 200, seed=2)
    rollout = make_rollout([simulated.device for simulated in fleet.values()], "d0000")
    ended = simulate(rollout, fleet, limit_s=4 * 3600)
    assert ended.state is RolloutState.ROLLED_BACK
    running = [simulated.device.assignment for simulated in fleet.values()]
    assert all(assignment is not None and assignment.model_digest == OLD for assignment in running)
