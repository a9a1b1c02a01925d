"""Looks at one device of a wave: starts it, follows it, judges it, or gives up on it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from orchestrator.policy.actions import Action, Commit, Start, next_generation
from orchestrator.policy.gates import Fail, Pass, Verdict, slower_ratio, verdict
from orchestrator.records import (
    ActionState,
    Device,
    Gate,
    ProbationTerms,
    Rollout,
    RolloutDevice,
    RolloutOutcome,
    RolloutTerms,
    Wave,
)

SETUP_TIMEOUT_S = 600.0
"""From being told to being on probation: download, verification, activation."""

Look = tuple[RolloutDevice, tuple[Action, ...]]


@dataclass(frozen=True)
class Judge:
    """One look at the devices of `wave` at `now_ms`."""

    rollout: Rollout
    wave: Wave
    is_last: bool
    now_ms: int

    def look(self, entry: RolloutDevice, device: Device | None, *, may_start: bool) -> Look:
        if entry.generation > 0:
            return self._follow(entry, device)
        if entry.outcome is RolloutOutcome.OPEN and may_start:
            return self._begin(entry, device)
        return entry, ()

    def _begin(self, entry: RolloutDevice, device: Device | None) -> Look:
        """Start it where it is there and free; wait for it as long as a probation lasts; then pass it over."""
        if device is not None and device.online and not _is_busy(device):
            begun = replace(
                entry, generation=next_generation(device), state=ActionState.ASSIGNED, started_at_ms=self.now_ms
            )
            terms = self._probation_for(begun, device)
            return begun, (Start(begun.device_id, begun.model_digest, begun.generation, terms),)
        if entry.waiting_since_ms == 0:
            return replace(entry, waiting_since_ms=self.now_ms), ()
        is_busy = device is not None and device.online
        patience_s = self.rollout.terms.probation_timeout_s + (SETUP_TIMEOUT_S if is_busy else 0.0)
        waited_s = (self.now_ms - entry.waiting_since_ms) / 1000.0
        if waited_s < patience_s:
            return entry, ()
        why = "busy with another model" if is_busy else "offline"
        return _closed(entry, RolloutOutcome.PASSED_OVER, f"{why} for {waited_s:.0f} s"), ()

    def _follow(self, entry: RolloutDevice, device: Device | None) -> Look:
        if device is None:
            return _closed(entry, RolloutOutcome.PASSED_OVER, "no longer known"), ()
        if device.assignment is not None and device.assignment.generation > entry.generation:
            words = f"superseded by generation {device.assignment.generation}"
            return _closed(entry, RolloutOutcome.PASSED_OVER, words), ()
        if is_about(device, entry) and device.action_state not in (ActionState.IDLE, entry.state):
            entry = replace(entry, state=device.action_state)
        if entry.state in (ActionState.FAILED, ActionState.REJECTED, ActionState.ROLLED_BACK):
            return self._gave_up(entry, device), ()
        if entry.outcome is RolloutOutcome.OPEN:
            return self._weigh(entry, device)
        return entry, ()

    def _weigh(self, entry: RolloutDevice, device: Device) -> Look:
        found = self._verdict(entry, device)
        if entry.state is ActionState.COMMITTED:
            words = found.words if isinstance(found, Pass) else "committed by the device itself"
            return _closed(entry, RolloutOutcome.PASSED, words), ()
        if entry.state is ActionState.PROBATION and isinstance(found, Pass):
            commit = Commit(entry.device_id, entry.generation)
            return _closed(entry, RolloutOutcome.PASSED, found.words), (commit,)
        if entry.state is ActionState.PROBATION and isinstance(found, Fail):
            return _closed(entry, RolloutOutcome.FAILED, found.words), ()
        if self._elapsed_s(entry) < SETUP_TIMEOUT_S + self.rollout.terms.probation_timeout_s:
            return replace(entry, verdict=found.words if entry.state is ActionState.PROBATION else entry.verdict), ()
        if not device.online:
            return _closed(entry, RolloutOutcome.PASSED_OVER, f"went offline while {entry.state.value}"), ()
        words = f"still {entry.state.value} after {self._elapsed_s(entry):.0f} s"
        return _closed(entry, RolloutOutcome.FAILED, words), ()

    def _gave_up(self, entry: RolloutDevice, device: Device) -> RolloutDevice:
        """The device itself ended it, perhaps after it had passed here.

        Running out of time with nothing shown against the model is no failure of the model: in the last wave, that
        device keeps what it had and the others go on.
        """
        found = self._verdict(entry, device)
        ran_out = (
            entry.state is ActionState.ROLLED_BACK
            and self._elapsed_s(entry) >= self.rollout.terms.probation_timeout_s
            and not isinstance(found, Fail)
        )
        if ran_out:
            words = f"no verdict within {self.rollout.terms.probation_timeout_s:.0f} s: {found.words}"
            outcome = RolloutOutcome.KEPT_PREVIOUS if self.is_last else RolloutOutcome.FAILED
            return _closed(entry, outcome, words)
        detail = device.action_detail if is_about(device, entry) else ""
        return _closed(entry, RolloutOutcome.FAILED, f"{entry.state.value}: {detail or 'no reason given'}")

    def _verdict(self, entry: RolloutDevice, device: Device) -> Verdict:
        pairs = device.pairs if is_about(device, entry) else None
        gate = self._gate_for(entry)
        return verdict(pairs, gate, self.rollout.goal, self.rollout.terms, tests=len(self.wave.devices))

    def _gate_for(self, entry: RolloutDevice) -> Gate:
        return self.wave.gate if entry.previous_digest else Gate.ACTIVATES

    def _probation_for(self, entry: RolloutDevice, device: Device) -> ProbationTerms | None:
        gate = self._gate_for(entry)
        if gate is Gate.ACTIVATES:
            return None
        return probation_terms(self.rollout.terms, gate, self.rollout.goal, device.facts.latency_p95_limit_ms)

    def _elapsed_s(self, entry: RolloutDevice) -> float:
        return (self.now_ms - entry.started_at_ms) / 1000.0


def is_about(device: Device, entry: RolloutDevice) -> bool:
    """What the device reports is about what this entry gave it, not about something earlier."""
    assigned = device.assignment
    return assigned is not None and assigned.generation == entry.generation and device.action_id == assigned.action_id


def probation_terms(terms: RolloutTerms, gate: Gate, goal: str, device_p95_limit_ms: float) -> ProbationTerms:
    """What the device itself holds to; its own latency limit counts where it is the stricter one."""
    limits = [limit for limit in (terms.max_latency_p95_ms, device_p95_limit_ms) if limit > 0]
    return ProbationTerms(
        timeout_s=terms.probation_timeout_s,
        max_error_rate=terms.max_error_rate,
        max_latency_p95_ms=min(limits, default=0.0),
        slower_ratio=slower_ratio(gate, goal, terms),
        guard_min_requests=terms.min_pairs,
    )


def _is_busy(device: Device) -> bool:
    """Under way with something else: it is left to end that first."""
    return device.action_state is not ActionState.IDLE and not device.action_state.is_terminal


def _closed(entry: RolloutDevice, outcome: RolloutOutcome, words: str) -> RolloutDevice:
    """Settle the outcome. Once settled, only a device that passed can still turn out to have failed."""
    if entry.outcome is RolloutOutcome.OPEN or (
        entry.outcome is RolloutOutcome.PASSED and outcome in (RolloutOutcome.FAILED, RolloutOutcome.KEPT_PREVIOUS)
    ):
        return replace(entry, outcome=outcome, verdict=words)
    return entry
