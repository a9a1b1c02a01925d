"""Who gets a model in which order. Membership is decided once, when a rollout starts; late comers do not join it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from orchestrator.records import ClassModel, Device, Gate, Rollout, RolloutDevice, RolloutState, Wave


def model_for(device_class: str, models: Iterable[ClassModel]) -> str | None:
    """The digest meant for a class: its own entry, or the one for every class."""
    by_class = {model.device_class: model.model_digest for model in models}
    return by_class.get(device_class, by_class.get("*"))


def plan_waves(
    devices: Iterable[Device],
    models: tuple[ClassModel, ...],
    requester: str | None,
    *,
    seed: str = "",
    model_name: str = "",
    skip_probation: bool = False,
    labelled: Mapping[str, int] | None = None,
) -> tuple[Wave, ...]:
    """Waves of the devices that these models are for and that do not run them already.

    Args:
        requester: the device whose trouble started this, or None. It goes first and must show the model better.
        seed: mixes the order of devices that are alike, so that the same device is not always first: the rollout's id.
        model_name: what the models are called; a device that runs another model has nothing to compare with.
        labelled: recent labelled requests per device: a healthy device without any can show nothing.
    """
    members = {
        device.id: (device, digest)
        for device in devices
        if (digest := model_for(device.facts.device_class, models)) and not _has(device, digest)
    }
    order = sorted(members, key=lambda device_id: hashlib.sha256(f"{seed}/{device_id}".encode()).digest())

    def wave(name: str, gate: Gate, ids: list[str]) -> Wave:
        entries = tuple(_entry(*members[device_id], model_name) for device_id in ids)
        if skip_probation or not any(entry.previous_digest for entry in entries):
            gate = Gate.ACTIVATES
        return Wave(name=name, gate=gate, devices=entries)

    waves = []
    if requester is not None and requester in members:
        waves.append(wave("requester", Gate.BETTER, [requester]))
        order.remove(requester)
    if order:
        wanted = members[requester][1] if waves and requester is not None else ""
        counts = labelled or {}

        def usefulness(device_id: str) -> tuple[bool, bool, bool, int]:
            device, digest = members[device_id]
            return device.online, digest == wanted, bool(device.running_digest), counts.get(device_id, 0)

        # max() keeps the first of equals, so the mixed order decides among devices that are alike.
        leader = max(order, key=usefulness)
        order.remove(leader)
        waves.append(wave("healthy" if waves else "first", Gate.NOT_WORSE, [leader]))
    if order:
        waves.append(wave("rest", Gate.NOT_WORSE, order))
    return tuple(waves)


def _has(device: Device, digest: str) -> bool:
    """It runs the model, and nothing else is meant for it."""
    return device.running_digest == digest and (device.assignment is None or device.assignment.model_digest == digest)


def _entry(device: Device, digest: str, model_name: str) -> RolloutDevice:
    assigned = device.assignment
    runs_another = bool(model_name) and assigned is not None and assigned.model_name != model_name
    previous = "" if runs_another else device.running_digest
    return RolloutDevice(
        device_id=device.id, model_digest=digest, previous_digest=previous if previous != digest else ""
    )


def newcomers(devices: Iterable[Device], rollouts: Iterable[Rollout]) -> dict[str, list[str]]:
    """Devices that were never given anything, by the rollout whose model they should get: the last that succeeded.

    Args:
        devices: those without an assignment.
        rollouts: newest first. While one is under way that is meant for a device's class, that device waits for its
            end: only then is it known which model is the right one.
    """
    known = list(rollouts)
    joining: dict[str, list[str]] = {}
    for device in devices:
        meant = [rollout for rollout in known if model_for(device.facts.device_class, rollout.models)]
        if any(rollout.state is RolloutState.RUNNING for rollout in meant):
            continue
        proven = next((rollout for rollout in meant if rollout.state is RolloutState.SUCCEEDED), None)
        if proven is not None:
            joining.setdefault(proven.id, []).append(device.id)
    return joining
