"""A rollout as a pure state machine: (rollout, what devices report, now) -> (rollout, what to do).

`step` is called again and again with whatever is known and is harmless to repeat: a device is started, committed or
reverted once, because the rollout itself remembers it.

Waves follow each other; each waits for its gate. What fails on any device halts the rollout and gives every device it
touched its previous model, as a new generation. A device that is away is waited for as long as a probation lasts, then
passed over; a wave that nobody passed ends the rollout, but for the last one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from orchestrator.policy.actions import Action, Revert, next_generation
from orchestrator.policy.judging import Judge
from orchestrator.records import ActionState, Device, Rollout, RolloutDevice, RolloutOutcome, RolloutState, Wave

SETTLE_TIMEOUT_S = 30.0
"""A device that passed and is silent about its commit is not waited for any longer."""
MAX_IN_FLIGHT = 50
"""Devices of one wave that are under way at once: the most that a bad model can reach."""

Step = tuple[Rollout, tuple[Action, ...]]


def step(rollout: Rollout, devices: Mapping[str, Device], now_ms: int) -> Step:
    """One look at a rollout. Returns it unchanged, and no actions, where there is nothing to do."""
    if rollout.state.is_terminal:
        return rollout, ()
    # First look without starting anything: a failure anywhere is known before another device begins.
    followed, commits = _look(rollout, devices, now_ms, may_start=False)
    failure = _first_failure(followed)
    if failure:
        return _end(followed, devices, now_ms, failure)
    stepped, starts = _look(followed, devices, now_ms, may_start=True)
    failure = _first_failure(stepped)
    if failure:
        return _end(stepped, devices, now_ms, failure)
    silent_s = 0.0 if stepped.waves != rollout.waves else (now_ms - rollout.updated_at_ms) / 1000.0
    state, message = _progress(stepped, silent_s)
    if (stepped.waves, state, message) == (rollout.waves, rollout.state, rollout.message):
        return rollout, ()
    return replace(stepped, state=state, message=message, updated_at_ms=now_ms), commits + starts


def roll_back(rollout: Rollout, devices: Mapping[str, Device], now_ms: int, why: str) -> Step:
    """Give every device that the rollout started and that still holds its model the previous one; long after, too."""
    return _end(rollout, devices, now_ms, why)


def cancel(rollout: Rollout, devices: Mapping[str, Device], now_ms: int) -> Step:
    """Start no further device. Those that passed keep the model; those still on probation get their previous one."""
    if rollout.state.is_terminal:
        return rollout, ()
    actions = _reverts(rollout, devices, passed_too=False)
    words = "cancelled" + (f"; {len(actions)} devices on probation get their previous model" if actions else "")
    return replace(rollout, state=RolloutState.CANCELLED, message=words, updated_at_ms=now_ms), actions


def _look(rollout: Rollout, devices: Mapping[str, Device], now_ms: int, *, may_start: bool) -> Step:
    waves: list[Wave] = []
    actions: list[Action] = []
    is_open = may_start
    for index, wave in enumerate(rollout.waves):
        judge = Judge(rollout, wave, is_last=index == len(rollout.waves) - 1, now_ms=now_ms)
        room = MAX_IN_FLIGHT - sum(entry.generation > 0 and _is_open(entry) for entry in wave.devices)
        looked = []
        for entry in wave.devices:
            after, wanted = judge.look(entry, devices.get(entry.device_id), may_start=is_open and room > 0)
            room -= after.generation > 0 and entry.generation == 0
            looked.append(after)
            actions.extend(wanted)
        waves.append(replace(wave, devices=tuple(looked)))
        is_open = is_open and _has_passed(waves[-1])
    return replace(rollout, waves=tuple(waves)), tuple(actions)


def _is_open(entry: RolloutDevice) -> bool:
    return entry.outcome is RolloutOutcome.OPEN


def _is_closed(wave: Wave) -> bool:
    return not any(_is_open(entry) for entry in wave.devices)


def _has_passed(wave: Wave) -> bool:
    """Everything in it is settled, and at least one device showed what the gate asks for."""
    return _is_closed(wave) and any(entry.outcome is RolloutOutcome.PASSED for entry in wave.devices)


def _first_failure(rollout: Rollout) -> str:
    for index, wave in enumerate(rollout.waves):
        for entry in wave.devices:
            if entry.outcome is RolloutOutcome.FAILED:
                return f"{entry.device_id} in wave {wave.name}: {entry.verdict}"
        if index < len(rollout.waves) - 1 and _is_closed(wave) and not _has_passed(wave):
            return f"nobody passed wave {wave.name}: {wave.devices[0].device_id} {wave.devices[0].verdict}"
    return ""


def _progress(rollout: Rollout, silent_s: float) -> tuple[RolloutState, str]:
    for wave in rollout.waves:
        if not _is_closed(wave):
            judged = sum(not _is_open(entry) for entry in wave.devices)
            return RolloutState.RUNNING, f"wave {wave.name} ({wave.gate.value}): {judged} of {len(wave.devices)} judged"
    entries = [entry for wave in rollout.waves for entry in wave.devices]
    passed = [entry for entry in entries if entry.outcome is RolloutOutcome.PASSED]
    silent = [entry for entry in passed if entry.state is not ActionState.COMMITTED]
    # Nothing has changed for that long: neither a verdict nor a device that confirmed one.
    if silent and silent_s < SETTLE_TIMEOUT_S:
        return RolloutState.RUNNING, "every device is judged; waiting for those that passed to confirm"
    if not entries:
        return RolloutState.SUCCEEDED, "no device needs it"
    others = "".join(f"; {e.device_id} {e.verdict}" for e in entries if e.outcome is not RolloutOutcome.PASSED)
    # All devices away or idle is not a success, but nothing is held against the model either.
    state = RolloutState.SUCCEEDED if passed else RolloutState.HALTED
    return state, f"{len(passed)} of {len(entries)} devices have the model{others[:500]}"


def _end(rollout: Rollout, devices: Mapping[str, Device], now_ms: int, why: str) -> Step:
    actions = _reverts(rollout, devices, passed_too=True)
    state = RolloutState.ROLLED_BACK if actions else RolloutState.HALTED
    words = f"{why}; devices given their previous model: {len(actions)}" if actions else why
    return replace(rollout, state=state, message=words, updated_at_ms=now_ms), actions


def _reverts(rollout: Rollout, devices: Mapping[str, Device], *, passed_too: bool) -> tuple[Action, ...]:
    """For every device that was started, has a previous model, and has been given nothing since."""
    actions: list[Action] = []
    for wave in rollout.waves:
        for entry in wave.devices:
            device = devices.get(entry.device_id)
            if device is None or entry.generation == 0 or not entry.previous_digest:
                continue
            superseded = device.assignment is not None and device.assignment.generation > entry.generation
            kept = entry.outcome is RolloutOutcome.PASSED and not passed_too
            if not superseded and not kept:
                actions.append(Revert(entry.device_id, entry.previous_digest, next_generation(device)))
    return tuple(actions)
