"""Jobs: what was asked for, what was made, what a search tried, and stages that have run."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from orchestrator.records.rollouts import ClassModel


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
class Refusal:
    """Devices of a class were there, were asked to measure a model, and none could; their words."""

    device_class: str
    error: str


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One compressed model that competes in a job. Without a digest, it could not be made: its verdict says why."""

    name: str
    model_digest: str = ""
    accuracy: float = 0.0  # on the choose split, by the engine
    model_bytes: int = 0
    peak_ram_bytes: int = 0
    fp32_accuracy: float | None = None  # of the float network it is made of, on the same samples
    measurements: tuple[Measurement, ...] = ()
    refusals: tuple[Refusal, ...] = ()  # until it is judged: then its verdict has them
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
