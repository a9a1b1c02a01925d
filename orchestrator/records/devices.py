"""Devices: what they are, what they were told, and what they said about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from edge_agent.sketch import LatencySketch


class ActionState(StrEnum):
    """The agent's states, in the order in which an action passes them; the last four are terminal."""

    IDLE = "idle"
    ASSIGNED = "assigned"
    DOWNLOADING = "downloading"
    VERIFYING = "verifying"
    STAGED = "staged"
    ACTIVATING = "activating"
    PROBATION = "probation"
    COMMITTED = "committed"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"
    REJECTED = "rejected"

    @property
    def is_terminal(self) -> bool:
        return self in (ActionState.COMMITTED, ActionState.ROLLED_BACK, ActionState.FAILED, ActionState.REJECTED)


@dataclass(frozen=True, kw_only=True)
class DeviceFacts:
    device_class: str
    agent_version: str = ""
    engine_path: str = ""
    engine_paths: tuple[str, ...] = ()
    model_bytes_limit: int = 0
    ram_bytes_limit: int = 0
    latency_p95_limit_ms: float = 0.0
    machine: str = ""
    cpu_model: str = ""


@dataclass(frozen=True, kw_only=True)
class ProbationTerms:
    """What the device itself holds to while it tries a model; see fleet.proto Probation."""

    timeout_s: float
    max_error_rate: float
    max_latency_p95_ms: float
    slower_ratio: float
    guard_min_requests: int


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """What one device shall run. Generations only rise; an assignment never changes once given."""

    device_id: str
    generation: int
    action_id: str
    model_name: str
    model_digest: str
    model_size_bytes: int  # of the model file itself
    probation: ProbationTerms | None = None
    rollout_id: str = ""


@dataclass(frozen=True, kw_only=True)
class PairCounts:
    """Totals of a paired shadow probation; see fleet.proto PairCounts."""

    pairs: int = 0
    agreements: int = 0
    slower: int = 0
    both_correct: int = 0
    only_old_correct: int = 0
    only_new_correct: int = 0
    both_wrong: int = 0
    new_errors: int = 0
    old_engine_latency_us: LatencySketch = field(default_factory=LatencySketch)
    new_engine_latency_us: LatencySketch = field(default_factory=LatencySketch)

    @property
    def labelled(self) -> int:
        return self.both_correct + self.only_old_correct + self.only_new_correct + self.both_wrong


@dataclass(frozen=True, kw_only=True)
class Device:
    id: str
    facts: DeviceFacts
    online: bool
    last_seen_ms: int
    assignment: Assignment | None = None
    accepted_generation: int = 0
    committed_generation: int = 0  # judged passed by the gate, or needing no judgement
    running_digest: str = ""
    previous_digest: str = ""  # last committed before the running one
    action_id: str = ""
    action_state: ActionState = ActionState.IDLE
    action_detail: str = ""
    pairs: PairCounts | None = None
    samples_consent: bool = False


@dataclass(frozen=True, kw_only=True)
class ActionReport:
    """The last thing a device said about one action."""

    action_id: str
    device_id: str
    generation: int
    seq: int
    state: ActionState
    detail: str = ""
    pairs: PairCounts | None = None
    at_ms: int = 0


@dataclass(frozen=True, kw_only=True)
class SampleStats:
    device_id: str
    samples: int
    oldest_ms: int
