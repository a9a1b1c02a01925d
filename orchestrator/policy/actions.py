"""What a rollout asks of devices; carried out in the transaction that stores the rollout it came with."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.records import Device, ProbationTerms


@dataclass(frozen=True)
class Start:
    """Give a device the model, as `generation`; without terms it commits as soon as the model is active."""

    device_id: str
    digest: str
    generation: int
    probation: ProbationTerms | None


@dataclass(frozen=True)
class Commit:
    """The probation of this generation has been judged passed."""

    device_id: str
    generation: int


@dataclass(frozen=True)
class Revert:
    """Give a device its previous model back, as a new generation and without probation."""

    device_id: str
    digest: str
    generation: int


Action = Start | Commit | Revert


def next_generation(device: Device) -> int:
    """Above everything that the device was ever given or has ever accepted."""
    assigned = device.assignment.generation if device.assignment else 0
    return max(assigned, device.accepted_generation, device.committed_generation) + 1
