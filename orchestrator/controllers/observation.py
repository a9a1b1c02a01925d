"""Gathers from the store what a recompression policy looks at. Reads only."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.controllers.rollout_commands import EVERY_DEVICE
from orchestrator.policy.recompression import DeviceTelemetry
from orchestrator.policy.triggers import Trigger
from orchestrator.records import Decision, Device, Job, JobState, RolloutState, WindowTotals
from orchestrator.spec import RecompressionPolicySpec
from orchestrator.store import Session

FIRST_LOOK_WINDOWS = 512
"""How far into a model's telemetry its reference is looked for."""


@dataclass(frozen=True, kw_only=True)
class Observation:
    now_ms: int
    devices: list[Device]
    telemetry: dict[str, DeviceTelemetry]
    jobs: list[Job]
    decisions: list[Decision]
    samples: dict[str, int]
    in_rollout: frozenset[str]


@dataclass
class Observer:
    """Remembers references between looks: the first requests of a model on a device never change."""

    _first: dict[tuple[str, str], WindowTotals] = field(default_factory=dict)

    def observe(self, session: Session, spec: RecompressionPolicySpec) -> Observation:
        devices = [device for device in session.devices.list(limit=EVERY_DEVICE) if device.running_digest]
        recent = _recent(session, spec)
        drift = spec.triggers.confidence_drift
        telemetry = {}
        for device in devices:
            key = (device.id, device.running_digest)
            first = self._reference(session, key, drift.min_requests) if drift is not None else None
            telemetry[device.id] = DeviceTelemetry(
                recent={trigger: totals[key] for trigger, totals in recent.items() if key in totals}, first=first
            )
        return Observation(
            now_ms=session.now_ms,
            devices=devices,
            telemetry=telemetry,
            jobs=session.jobs.list(states=[JobState.QUEUED, JobState.RUNNING]),
            decisions=session.decisions.list(policy=spec.name),
            samples={d.id: session.samples.count(d.id, model_digest=d.running_digest) for d in devices},
            in_rollout=_in_rollout(session),
        )

    def _reference(self, session: Session, key: tuple[str, str], min_requests: int) -> WindowTotals | None:
        """Totals over the model's first windows on the device, as many as hold `min_requests`."""
        known = self._first.get(key)
        if known is not None and known.requests >= min_requests:
            return known
        device_id, model_digest = key
        found = session.telemetry.first_totals(
            device_id=device_id, model_digest=model_digest, min_requests=min_requests, limit=FIRST_LOOK_WINDOWS
        )
        if found is not None:
            self._first[key] = found
        return found


def _recent(session: Session, spec: RecompressionPolicySpec) -> dict[Trigger, dict[tuple[str, str], WindowTotals]]:
    """By trigger: totals over its window, by device and model. Triggers with equal windows share one query."""
    windows_s = {
        trigger: settings.window_s
        for trigger in Trigger
        if (settings := getattr(spec.triggers, trigger.value)) is not None
    }
    by_length = {
        window_s: {
            (totals.device_id, totals.model_digest): totals
            for totals in session.telemetry.window_totals(
                model_name=spec.model_name, since_ms=session.now_ms - int(window_s * 1000)
            )
        }
        for window_s in set(windows_s.values())
    }
    return {trigger: by_length[window_s] for trigger, window_s in windows_s.items()}


def _in_rollout(session: Session) -> frozenset[str]:
    return frozenset(
        entry.device_id
        for rollout in session.rollouts.list(states=[RolloutState.RUNNING])
        for wave in rollout.waves
        for entry in wave.devices
    )
