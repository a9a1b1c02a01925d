"""What the control plane knows, as plain data.

Policies take these and return these; the store reads and writes them; services turn them into messages. Nothing here
does I/O. Digests are 64 lower-case hex characters, times are Unix milliseconds, ids are opaque.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from edge_agent.sketch import LatencySketch


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    INFEASIBLE = "infeasible"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        return self not in (JobState.QUEUED, JobState.RUNNING)


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
class Measurement:
    """What one device class measured of one model; engine time in microseconds."""

    device_class: str
    engine_path: str
    latency_p50_us: float
    latency_p95_us: float
    runs: int
    peak_ram_bytes: int
    on_control_plane: bool = False
    operator_p50_us: tuple[float, ...] = ()  # the input's preparation, then every operator in stored order


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One compressed model that competes in a job."""

    name: str
    model_digest: str
    accuracy: float  # on the choose split, by the engine
    model_bytes: int
    peak_ram_bytes: int
    fp32_accuracy: float | None = None  # of the float network it is made of, on the same samples
    measurements: tuple[Measurement, ...] = ()
    chosen_for: tuple[str, ...] = ()
    verdict: str = ""


@dataclass(frozen=True, kw_only=True)
class PredictedLatency:
    """By the latency table of a device class."""

    device_class: str
    latency_p95_us: float


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One configuration that a search tried; `stopped` says why it was given up before it was trained, if it was."""

    name: str
    accuracy: float = 0.0  # on the choose split, by the engine
    model_bytes: int = 0
    peak_ram_bytes: int = 0
    latencies: tuple[PredictedLatency, ...] = ()
    stopped: str = ""
    on_front: bool = False


@dataclass(frozen=True, kw_only=True)
class Search:
    """What a job's search tried; those of its front that were measured on devices are the job's candidates."""

    trials_wanted: int
    ended: str = ""
    trials: tuple[Trial, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Job:
    id: str
    name: str
    spec_yaml: str
    working_dir_digest: str
    state: JobState
    stage: str = ""
    progress: float = 0.0
    message: str = ""
    attempt: int = 0
    cancel_requested: bool = False
    created_at_ms: int = 0
    updated_at_ms: int = 0
    decision_id: str = ""
    parent_job_id: str = ""
    parent_student_digest: str = ""
    parent_model_digest: str = ""
    sample_device_ids: tuple[str, ...] = ()
    action: str = ""
    candidates: tuple[Candidate, ...] = ()
    chosen: tuple[ClassModel, ...] = ()
    rollout_id: str = ""
    teacher_accuracy: float = 0.0  # on the choose split; 0 where nothing asked for it
    search: Search | None = None


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


@dataclass(frozen=True, kw_only=True)
class PublishedModel:
    digest: str
    name: str
    size_bytes: int  # model file and tensor blobs, without golden vectors
    file_bytes: int
    published_at_ms: int
    job_id: str
    blob_digests: tuple[str, ...] = ()
    statement_digests: tuple[str, ...] = ()
    measurements: tuple[Measurement, ...] = ()


@dataclass(frozen=True, kw_only=True)
class WindowTotals:
    """Telemetry of one device and one model over a stretch of time: counters summed, sketches merged."""

    device_id: str
    device_class: str
    model_digest: str
    from_ms: int
    until_ms: int
    windows: int = 0
    requests: int = 0
    errors: int = 0
    labelled: int = 0
    labelled_correct: int = 0
    engine_latency_us: LatencySketch = field(default_factory=LatencySketch)
    request_latency_us: LatencySketch = field(default_factory=LatencySketch)
    confidence_histogram: tuple[int, ...] = ()
    class_counts: tuple[int, ...] = ()
    dropped_records: int = 0
    feedback_late: int = 0
    feedback_unmatched: int = 0
    rss_bytes: int = 0  # the most of any window
    cpu_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One decision of the loop, with everything it was made from; `evidence` is enough to make it again."""

    id: str
    policy: str
    device_id: str
    model_digest: str
    action: str
    reason: str
    evidence_json: str
    decided_at_ms: int
    job_id: str = ""
    rollout_id: str = ""
    outcome: str = "running"


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One model measured on one device class; asked of up to `devices` of its devices."""

    id: str
    job_id: str
    device_class: str
    model_digest: str
    model_size_bytes: int
    warmup: int
    runs: int
    devices: int = 1  # how many to ask
    device_ids: tuple[str, ...] = ()  # who was asked; a controller chooses them
    measurements: tuple[Measurement, ...] = ()
    errors: tuple[str, ...] = ()
    done: bool = False
    no_device: bool = False
    requested_at_ms: int = 0


@dataclass(frozen=True, kw_only=True)
class StageOutput:
    name: str
    digest: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What a stage of a job made, found again by the digest of everything that went into it."""

    key: str
    name: str
    job_id: str  # that made it first
    outputs: tuple[StageOutput, ...] = ()
    metrics_json: str = "{}"
    duration_s: float = 0.0
    created_at_ms: int = 0


@dataclass(frozen=True, kw_only=True)
class Policy:
    """A RecompressionPolicy as the operator wrote it."""

    name: str
    spec_yaml: str
    updated_at_ms: int = 0
    deleted: bool = False


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


@dataclass(frozen=True, kw_only=True)
class Event:
    """One line of the log of everything: `snapshot` is the record as it was right after the change, as JSON."""

    revision: int
    kind: str
    subject: str
    at_ms: int
    snapshot: str
