"""A simulated fleet for rollout tests: devices that behave well, badly, or not at all, driven tick by tick.

Each device follows the agent's states on what it was assigned, and reverts by itself as the agent does. Nothing here
knows how rollouts decide; it only carries out their actions and checks what must always hold.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from orchestrator.policy.actions import Action, Commit, Start
from orchestrator.policy.rollout import step
from orchestrator.records import (
    ActionState,
    Assignment,
    Device,
    DeviceFacts,
    PairCounts,
    ProbationTerms,
    Rollout,
    RolloutState,
)

TICK_MS = 2000
NEW = "b" * 64
OLD = "a" * 64

BEHAVIOURS = ("good", "worse", "crashes", "rejects", "guard", "idle", "stuck", "vanishes", "flaps", "offline", "slow")


@dataclass
class SimulatedDevice:
    device: Device
    behaviour: str
    rng: random.Random
    since_ms: int = 0
    highest_generation: int = 0
    history: list[int] = field(default_factory=list)

    def carry_out(self, action: Action, now_ms: int, rollout_id: str) -> None:
        if isinstance(action, Commit):
            self.device = replace(
                self.device, committed_generation=max(self.device.committed_generation, action.generation)
            )
            return
        assert action.generation > self.highest_generation, "a generation fell"
        self.highest_generation = action.generation
        self.history.append(action.generation)
        probation: ProbationTerms | None = action.probation if isinstance(action, Start) else None
        action_id = f"{rollout_id}-{action.generation}"
        assignment = Assignment(
            device_id=self.device.id,
            generation=action.generation,
            action_id=action_id,
            model_name="m",
            model_digest=action.digest,
            model_size_bytes=1,
            probation=probation,
        )
        self.device = replace(
            self.device, assignment=assignment, action_id=action_id, action_state=ActionState.ASSIGNED, pairs=None
        )
        self.since_ms = now_ms

    def live(self, now_ms: int) -> None:
        """One tick of the device's own life."""
        if self.behaviour == "flaps":
            self.device = replace(self.device, online=self.rng.random() < 0.6)
        if self.behaviour == "vanishes" and self.device.action_state is ActionState.PROBATION:
            self.device = replace(self.device, online=False)
        if not self.device.online or self.device.assignment is None or self.device.action_state.is_terminal:
            return
        self._advance(now_ms)

    def _advance(self, now_ms: int) -> None:
        assignment, state = self.device.assignment, self.device.action_state
        assert assignment is not None
        is_new = assignment.model_digest == NEW
        if state in (ActionState.ASSIGNED, ActionState.DOWNLOADING, ActionState.VERIFYING, ActionState.ACTIVATING):
            if is_new and self.behaviour == "stuck":
                return None
            if is_new and self.behaviour == "rejects":
                return self._to(ActionState.REJECTED, detail="too large")
            if is_new and self.behaviour == "crashes":
                return self._to(ActionState.FAILED, detail="crashed")
            if self.rng.random() < 0.4:
                return None
            if assignment.probation is None:
                return self._run(assignment.model_digest)
            self.since_ms = now_ms
            return self._to(ActionState.PROBATION, pairs=PairCounts())
        if state is ActionState.PROBATION:
            return self._try_out(assignment, now_ms)
        return None

    def _try_out(self, assignment: Assignment, now_ms: int) -> None:
        if self.device.committed_generation >= assignment.generation:
            return self._run(assignment.model_digest)
        assert assignment.probation is not None
        if now_ms - self.since_ms > assignment.probation.timeout_s * 1000:
            return self._to(ActionState.ROLLED_BACK, detail="no verdict in time")
        if self.behaviour == "guard" and self.rng.random() < 0.3:
            return self._to(ActionState.ROLLED_BACK, detail="error rate")
        self.device = replace(self.device, pairs=self._more_pairs())
        return None

    def _more_pairs(self) -> PairCounts:
        before = self.device.pairs or PairCounts()
        if self.behaviour == "idle":
            return before
        only_new, only_old = (0.02, 0.25) if self.behaviour == "worse" else (0.2, 0.02)
        n = self.rng.randrange(10, 60)
        new = sum(self.rng.random() < only_new for _ in range(n))
        old = sum(self.rng.random() < only_old for _ in range(n - new))
        return replace(
            before,
            pairs=before.pairs + n,
            agreements=before.agreements + n - new - old,
            slower=before.slower + (n if self.behaviour == "slow" else 0),
            only_new_correct=before.only_new_correct + new,
            only_old_correct=before.only_old_correct + old,
            both_correct=before.both_correct + n - new - old,
        )

    def _run(self, digest: str) -> None:
        assert self.device.assignment is not None
        generation = self.device.assignment.generation
        self.device = replace(
            self.device,
            running_digest=digest,
            action_state=ActionState.COMMITTED,
            accepted_generation=generation,
            committed_generation=max(generation, self.device.committed_generation),
        )

    def _to(self, state: ActionState, *, detail: str = "", pairs: PairCounts | None = None) -> None:
        self.device = replace(
            self.device,
            action_state=state,
            action_detail=detail,
            pairs=pairs if pairs is not None else self.device.pairs,
        )


def make_device(device_id: str, *, running: str = OLD, online: bool = True, device_class: str = "gateway") -> Device:
    assignment = None
    if running:
        assignment = Assignment(
            device_id=device_id,
            generation=1,
            action_id=f"first-{device_id}",
            model_name="m",
            model_digest=running,
            model_size_bytes=1,
        )
    return Device(
        id=device_id,
        facts=DeviceFacts(device_class=device_class),
        online=online,
        last_seen_ms=0,
        assignment=assignment,
        accepted_generation=1 if running else 0,
        committed_generation=1 if running else 0,
        running_digest=running,
        action_id=assignment.action_id if assignment else "",
        action_state=ActionState.COMMITTED if running else ActionState.IDLE,
    )


def simulate(rollout: Rollout, fleet: Mapping[str, SimulatedDevice], *, limit_s: float) -> Rollout:
    """Run to the end of the rollout, checking after every tick; fails where it does not end in time."""
    started: set[str] = set()
    for simulated in fleet.values():
        simulated.highest_generation = simulated.device.assignment.generation if simulated.device.assignment else 0
    now_ms = rollout.created_at_ms
    while not rollout.state.is_terminal:
        now_ms += TICK_MS
        assert now_ms - rollout.created_at_ms < limit_s * 1000, f"has not ended: {rollout.message}"
        for simulated in fleet.values():
            simulated.live(now_ms)
        devices = {device_id: simulated.device for device_id, simulated in fleet.items()}
        after, actions = step(rollout, devices, now_ms)
        check_step(rollout, after, actions, started)
        started |= {action.device_id for action in actions if isinstance(action, Start)}
        for action in actions:
            fleet[action.device_id].carry_out(action, now_ms, rollout.id)
        rollout = after
    again, nothing = step(rollout, {}, now_ms + TICK_MS)
    assert again == rollout
    assert not nothing
    return rollout


def check_step(before: Rollout, after: Rollout, actions: tuple[Action, ...], started: set[str]) -> None:
    starts = [action.device_id for action in actions if isinstance(action, Start)]
    assert len(starts) == len(set(starts))
    assert not started & set(starts), "a device was started twice"
    if after.state is not RolloutState.RUNNING:
        assert not starts, "a device was started by the step that ended the rollout"
    members = [[entry.device_id for entry in wave.devices] for wave in before.waves]
    assert members == [[entry.device_id for entry in wave.devices] for wave in after.waves], "membership changed"
    seen_open = False
    for wave in after.waves:
        if seen_open:
            assert all(entry.generation == 0 for entry in wave.devices), "a wave began before the one before it passed"
        seen_open = seen_open or any(entry.outcome.value == "open" for entry in wave.devices)
