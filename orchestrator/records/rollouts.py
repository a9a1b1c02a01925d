"""Rollouts: their terms, waves and devices."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from orchestrator.records.devices import ActionState


class RolloutState(StrEnum):
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    HALTED = "halted"
    ROLLED_BACK = "rolled_back"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        return self is not RolloutState.RUNNING


class Gate(StrEnum):
    """What a wave must show before the next one starts."""

    BETTER = "better"  # on what was asked for, on the device that asked
    NOT_WORSE = "not_worse"  # by more than the stated margin
    ACTIVATES = "activates"  # verified and serving; there is nothing to compare with


@dataclass(frozen=True, kw_only=True)
class ClassModel:
    device_class: str  # "*": every class
    model_digest: str


@dataclass(frozen=True, kw_only=True)
class RolloutTerms:
    """How a rollout judges; from the job's `rollout:` or the defaults."""

    alpha: float = 0.05  # of every sequential test
    non_inferiority_margin: float = 0.05  # accuracy, absolute
    probation_timeout_s: float = 120.0
    slower_ratio: float = 2.0
    max_slower_fraction: float = 0.5
    max_error_rate: float = 0.05
    max_latency_p95_ms: float = 0.0  # 0: none
    min_pairs: int = 50
    skip_probation: bool = False


class RolloutOutcome(StrEnum):
    """How a rollout ended for one device."""

    OPEN = "open"
    PASSED = "passed"
    FAILED = "failed"
    PASSED_OVER = "passed_over"  # away or busy; nothing was learned
    KEPT_PREVIOUS = "kept_previous"  # its probation ran out with nothing shown against the model


@dataclass(frozen=True, kw_only=True)
class RolloutDevice:
    device_id: str
    model_digest: str
    previous_digest: str = ""
    generation: int = 0  # 0: not started
    state: ActionState = ActionState.IDLE
    outcome: RolloutOutcome = RolloutOutcome.OPEN
    verdict: str = ""  # in words
    waiting_since_ms: int = 0  # its turn has come, but it is away or busy; 0: it has not
    started_at_ms: int = 0


@dataclass(frozen=True, kw_only=True)
class Wave:
    name: str
    gate: Gate
    devices: tuple[RolloutDevice, ...]


@dataclass(frozen=True, kw_only=True)
class Rollout:
    id: str
    model_name: str
    models: tuple[ClassModel, ...]
    terms: RolloutTerms
    waves: tuple[Wave, ...]
    state: RolloutState = RolloutState.RUNNING
    message: str = ""
    goal: str = "accuracy"  # what BETTER means: "accuracy" or "latency"
    job_id: str = ""
    decision_id: str = ""
    created_at_ms: int = 0
    updated_at_ms: int = 0
