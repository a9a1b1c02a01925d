from protos import fleet_pb2 as _fleet_pb2
from protos import model_pb2 as _model_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class JobState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_STATE_UNSPECIFIED: _ClassVar[JobState]
    JOB_QUEUED: _ClassVar[JobState]
    JOB_RUNNING: _ClassVar[JobState]
    JOB_SUCCEEDED: _ClassVar[JobState]
    JOB_INFEASIBLE: _ClassVar[JobState]
    JOB_FAILED: _ClassVar[JobState]
    JOB_CANCELLED: _ClassVar[JobState]

class RolloutState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROLLOUT_STATE_UNSPECIFIED: _ClassVar[RolloutState]
    ROLLOUT_RUNNING: _ClassVar[RolloutState]
    ROLLOUT_SUCCEEDED: _ClassVar[RolloutState]
    ROLLOUT_HALTED: _ClassVar[RolloutState]
    ROLLOUT_ROLLED_BACK: _ClassVar[RolloutState]
    ROLLOUT_CANCELLED: _ClassVar[RolloutState]
JOB_STATE_UNSPECIFIED: JobState
JOB_QUEUED: JobState
JOB_RUNNING: JobState
JOB_SUCCEEDED: JobState
JOB_INFEASIBLE: JobState
JOB_FAILED: JobState
JOB_CANCELLED: JobState
ROLLOUT_STATE_UNSPECIFIED: RolloutState
ROLLOUT_RUNNING: RolloutState
ROLLOUT_SUCCEEDED: RolloutState
ROLLOUT_HALTED: RolloutState
ROLLOUT_ROLLED_BACK: RolloutState
ROLLOUT_CANCELLED: RolloutState

class GetRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class ListRequest(_message.Message):
    __slots__ = ("limit", "device_id", "job_id")
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    limit: int
    device_id: str
    job_id: str
    def __init__(self, limit: _Optional[int] = ..., device_id: _Optional[str] = ..., job_id: _Optional[str] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("from_revision", "id")
    FROM_REVISION_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    from_revision: int
    id: str
    def __init__(self, from_revision: _Optional[int] = ..., id: _Optional[str] = ...) -> None: ...

class SubmitJobRequest(_message.Message):
    __slots__ = ("spec_yaml", "working_dir_sha256", "client_request_id")
    SPEC_YAML_FIELD_NUMBER: _ClassVar[int]
    WORKING_DIR_SHA256_FIELD_NUMBER: _ClassVar[int]
    CLIENT_REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    spec_yaml: str
    working_dir_sha256: bytes
    client_request_id: str
    def __init__(self, spec_yaml: _Optional[str] = ..., working_dir_sha256: _Optional[bytes] = ..., client_request_id: _Optional[str] = ...) -> None: ...

class Job(_message.Message):
    __slots__ = ("id", "name", "state", "stage", "progress", "message", "created_at_ms", "updated_at_ms", "decision_id", "candidates", "rollout_id", "stages", "spec_yaml", "working_dir_sha256", "teacher_accuracy", "search")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_ID_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    SPEC_YAML_FIELD_NUMBER: _ClassVar[int]
    WORKING_DIR_SHA256_FIELD_NUMBER: _ClassVar[int]
    TEACHER_ACCURACY_FIELD_NUMBER: _ClassVar[int]
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    state: JobState
    stage: str
    progress: float
    message: str
    created_at_ms: int
    updated_at_ms: int
    decision_id: str
    candidates: _containers.RepeatedCompositeFieldContainer[Candidate]
    rollout_id: str
    stages: _containers.RepeatedCompositeFieldContainer[Stage]
    spec_yaml: str
    working_dir_sha256: bytes
    teacher_accuracy: float
    search: Search
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., state: _Optional[_Union[JobState, str]] = ..., stage: _Optional[str] = ..., progress: _Optional[float] = ..., message: _Optional[str] = ..., created_at_ms: _Optional[int] = ..., updated_at_ms: _Optional[int] = ..., decision_id: _Optional[str] = ..., candidates: _Optional[_Iterable[_Union[Candidate, _Mapping]]] = ..., rollout_id: _Optional[str] = ..., stages: _Optional[_Iterable[_Union[Stage, _Mapping]]] = ..., spec_yaml: _Optional[str] = ..., working_dir_sha256: _Optional[bytes] = ..., teacher_accuracy: _Optional[float] = ..., search: _Optional[_Union[Search, _Mapping]] = ...) -> None: ...

class Search(_message.Message):
    __slots__ = ("trials_wanted", "ended", "trials")
    TRIALS_WANTED_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    TRIALS_FIELD_NUMBER: _ClassVar[int]
    trials_wanted: int
    ended: str
    trials: _containers.RepeatedCompositeFieldContainer[Trial]
    def __init__(self, trials_wanted: _Optional[int] = ..., ended: _Optional[str] = ..., trials: _Optional[_Iterable[_Union[Trial, _Mapping]]] = ...) -> None: ...

class Trial(_message.Message):
    __slots__ = ("name", "accuracy", "model_bytes", "peak_ram_bytes", "latencies", "stopped", "on_front")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ACCURACY_FIELD_NUMBER: _ClassVar[int]
    MODEL_BYTES_FIELD_NUMBER: _ClassVar[int]
    PEAK_RAM_BYTES_FIELD_NUMBER: _ClassVar[int]
    LATENCIES_FIELD_NUMBER: _ClassVar[int]
    STOPPED_FIELD_NUMBER: _ClassVar[int]
    ON_FRONT_FIELD_NUMBER: _ClassVar[int]
    name: str
    accuracy: float
    model_bytes: int
    peak_ram_bytes: int
    latencies: _containers.RepeatedCompositeFieldContainer[PredictedLatency]
    stopped: str
    on_front: bool
    def __init__(self, name: _Optional[str] = ..., accuracy: _Optional[float] = ..., model_bytes: _Optional[int] = ..., peak_ram_bytes: _Optional[int] = ..., latencies: _Optional[_Iterable[_Union[PredictedLatency, _Mapping]]] = ..., stopped: _Optional[str] = ..., on_front: bool = ...) -> None: ...

class PredictedLatency(_message.Message):
    __slots__ = ("device_class", "latency_p95_us")
    DEVICE_CLASS_FIELD_NUMBER: _ClassVar[int]
    LATENCY_P95_US_FIELD_NUMBER: _ClassVar[int]
    device_class: str
    latency_p95_us: float
    def __init__(self, device_class: _Optional[str] = ..., latency_p95_us: _Optional[float] = ...) -> None: ...

class Candidate(_message.Message):
    __slots__ = ("name", "model_sha256", "accuracy", "model_bytes", "peak_ram_bytes", "measurements", "chosen_for", "verdict", "fp32_accuracy")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_SHA256_FIELD_NUMBER: _ClassVar[int]
    ACCURACY_FIELD_NUMBER: _ClassVar[int]
    MODEL_BYTES_FIELD_NUMBER: _ClassVar[int]
    PEAK_RAM_BYTES_FIELD_NUMBER: _ClassVar[int]
    MEASUREMENTS_FIELD_NUMBER: _ClassVar[int]
    CHOSEN_FOR_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    FP32_ACCURACY_FIELD_NUMBER: _ClassVar[int]
    name: str
    model_sha256: bytes
    accuracy: float
    model_bytes: int
    peak_ram_bytes: int
    measurements: _containers.RepeatedCompositeFieldContainer[_model_pb2.Measurement]
    chosen_for: _containers.RepeatedScalarFieldContainer[str]
    verdict: str
    fp32_accuracy: float
    def __init__(self, name: _Optional[str] = ..., model_sha256: _Optional[bytes] = ..., accuracy: _Optional[float] = ..., model_bytes: _Optional[int] = ..., peak_ram_bytes: _Optional[int] = ..., measurements: _Optional[_Iterable[_Union[_model_pb2.Measurement, _Mapping]]] = ..., chosen_for: _Optional[_Iterable[str]] = ..., verdict: _Optional[str] = ..., fp32_accuracy: _Optional[float] = ...) -> None: ...

class JobList(_message.Message):
    __slots__ = ("jobs", "revision")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[Job]
    revision: int
    def __init__(self, jobs: _Optional[_Iterable[_Union[Job, _Mapping]]] = ..., revision: _Optional[int] = ...) -> None: ...

class JobEvent(_message.Message):
    __slots__ = ("revision", "job")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    revision: int
    job: Job
    def __init__(self, revision: _Optional[int] = ..., job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class DriverJob(_message.Message):
    __slots__ = ("id", "spec_yaml", "working_dir_sha256", "cancel_requested", "parent_job_id", "parent_student_sha256", "sample_device_ids", "action", "parent_model_sha256")
    ID_FIELD_NUMBER: _ClassVar[int]
    SPEC_YAML_FIELD_NUMBER: _ClassVar[int]
    WORKING_DIR_SHA256_FIELD_NUMBER: _ClassVar[int]
    CANCEL_REQUESTED_FIELD_NUMBER: _ClassVar[int]
    PARENT_JOB_ID_FIELD_NUMBER: _ClassVar[int]
    PARENT_STUDENT_SHA256_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_DEVICE_IDS_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    PARENT_MODEL_SHA256_FIELD_NUMBER: _ClassVar[int]
    id: str
    spec_yaml: str
    working_dir_sha256: bytes
    cancel_requested: bool
    parent_job_id: str
    parent_student_sha256: bytes
    sample_device_ids: _containers.RepeatedScalarFieldContainer[str]
    action: str
    parent_model_sha256: bytes
    def __init__(self, id: _Optional[str] = ..., spec_yaml: _Optional[str] = ..., working_dir_sha256: _Optional[bytes] = ..., cancel_requested: bool = ..., parent_job_id: _Optional[str] = ..., parent_student_sha256: _Optional[bytes] = ..., sample_device_ids: _Optional[_Iterable[str]] = ..., action: _Optional[str] = ..., parent_model_sha256: _Optional[bytes] = ...) -> None: ...

class StageKey(_message.Message):
    __slots__ = ("key_sha256",)
    KEY_SHA256_FIELD_NUMBER: _ClassVar[int]
    key_sha256: bytes
    def __init__(self, key_sha256: _Optional[bytes] = ...) -> None: ...

class Stage(_message.Message):
    __slots__ = ("key_sha256", "name", "job_id", "outputs", "metrics_json", "duration_s", "found", "created_at_ms")
    KEY_SHA256_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    METRICS_JSON_FIELD_NUMBER: _ClassVar[int]
    DURATION_S_FIELD_NUMBER: _ClassVar[int]
    FOUND_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    key_sha256: bytes
    name: str
    job_id: str
    outputs: _containers.RepeatedCompositeFieldContainer[BlobEntry]
    metrics_json: str
    duration_s: float
    found: bool
    created_at_ms: int
    def __init__(self, key_sha256: _Optional[bytes] = ..., name: _Optional[str] = ..., job_id: _Optional[str] = ..., outputs: _Optional[_Iterable[_Union[BlobEntry, _Mapping]]] = ..., metrics_json: _Optional[str] = ..., duration_s: _Optional[float] = ..., found: bool = ..., created_at_ms: _Optional[int] = ...) -> None: ...

class BlobEntry(_message.Message):
    __slots__ = ("name", "blob")
    NAME_FIELD_NUMBER: _ClassVar[int]
    BLOB_FIELD_NUMBER: _ClassVar[int]
    name: str
    blob: _model_pb2.BlobRef
    def __init__(self, name: _Optional[str] = ..., blob: _Optional[_Union[_model_pb2.BlobRef, _Mapping]] = ...) -> None: ...

class ProgressReport(_message.Message):
    __slots__ = ("job_id", "stage", "progress", "message", "candidates", "attempt", "teacher_accuracy", "search")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    TEACHER_ACCURACY_FIELD_NUMBER: _ClassVar[int]
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    stage: str
    progress: float
    message: str
    candidates: _containers.RepeatedCompositeFieldContainer[Candidate]
    attempt: int
    teacher_accuracy: float
    search: Search
    def __init__(self, job_id: _Optional[str] = ..., stage: _Optional[str] = ..., progress: _Optional[float] = ..., message: _Optional[str] = ..., candidates: _Optional[_Iterable[_Union[Candidate, _Mapping]]] = ..., attempt: _Optional[int] = ..., teacher_accuracy: _Optional[float] = ..., search: _Optional[_Union[Search, _Mapping]] = ...) -> None: ...

class ProgressResponse(_message.Message):
    __slots__ = ("cancel_requested",)
    CANCEL_REQUESTED_FIELD_NUMBER: _ClassVar[int]
    cancel_requested: bool
    def __init__(self, cancel_requested: bool = ...) -> None: ...

class BenchmarkOrder(_message.Message):
    __slots__ = ("job_id", "device_class", "model", "warmup", "runs", "devices")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    DEVICE_CLASS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    WARMUP_FIELD_NUMBER: _ClassVar[int]
    RUNS_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    device_class: str
    model: _model_pb2.BlobRef
    warmup: int
    runs: int
    devices: int
    def __init__(self, job_id: _Optional[str] = ..., device_class: _Optional[str] = ..., model: _Optional[_Union[_model_pb2.BlobRef, _Mapping]] = ..., warmup: _Optional[int] = ..., runs: _Optional[int] = ..., devices: _Optional[int] = ...) -> None: ...

class Benchmark(_message.Message):
    __slots__ = ("id", "job_id", "device_class", "model", "done", "error", "measurements", "no_device", "warmup", "runs", "device_ids")
    ID_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    DEVICE_CLASS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    MEASUREMENTS_FIELD_NUMBER: _ClassVar[int]
    NO_DEVICE_FIELD_NUMBER: _ClassVar[int]
    WARMUP_FIELD_NUMBER: _ClassVar[int]
    RUNS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_IDS_FIELD_NUMBER: _ClassVar[int]
    id: str
    job_id: str
    device_class: str
    model: _model_pb2.BlobRef
    done: bool
    error: str
    measurements: _containers.RepeatedCompositeFieldContainer[_model_pb2.Measurement]
    no_device: bool
    warmup: int
    runs: int
    device_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, id: _Optional[str] = ..., job_id: _Optional[str] = ..., device_class: _Optional[str] = ..., model: _Optional[_Union[_model_pb2.BlobRef, _Mapping]] = ..., done: bool = ..., error: _Optional[str] = ..., measurements: _Optional[_Iterable[_Union[_model_pb2.Measurement, _Mapping]]] = ..., no_device: bool = ..., warmup: _Optional[int] = ..., runs: _Optional[int] = ..., device_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class BenchmarkEvent(_message.Message):
    __slots__ = ("revision", "benchmark")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    BENCHMARK_FIELD_NUMBER: _ClassVar[int]
    revision: int
    benchmark: Benchmark
    def __init__(self, revision: _Optional[int] = ..., benchmark: _Optional[_Union[Benchmark, _Mapping]] = ...) -> None: ...

class PublishModelRequest(_message.Message):
    __slots__ = ("job_id", "model", "blobs", "statements")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    BLOBS_FIELD_NUMBER: _ClassVar[int]
    STATEMENTS_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    model: _model_pb2.BlobRef
    blobs: _containers.RepeatedCompositeFieldContainer[_model_pb2.BlobRef]
    statements: _containers.RepeatedCompositeFieldContainer[_model_pb2.BlobRef]
    def __init__(self, job_id: _Optional[str] = ..., model: _Optional[_Union[_model_pb2.BlobRef, _Mapping]] = ..., blobs: _Optional[_Iterable[_Union[_model_pb2.BlobRef, _Mapping]]] = ..., statements: _Optional[_Iterable[_Union[_model_pb2.BlobRef, _Mapping]]] = ...) -> None: ...

class ListSamplesRequest(_message.Message):
    __slots__ = ("job_id", "device_ids", "limit", "after_id")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    DEVICE_IDS_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    AFTER_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    device_ids: _containers.RepeatedScalarFieldContainer[str]
    limit: int
    after_id: int
    def __init__(self, job_id: _Optional[str] = ..., device_ids: _Optional[_Iterable[str]] = ..., limit: _Optional[int] = ..., after_id: _Optional[int] = ...) -> None: ...

class SampleList(_message.Message):
    __slots__ = ("samples",)
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    samples: _containers.RepeatedCompositeFieldContainer[StoredSample]
    def __init__(self, samples: _Optional[_Iterable[_Union[StoredSample, _Mapping]]] = ...) -> None: ...

class StoredSample(_message.Message):
    __slots__ = ("id", "device_id", "sample")
    ID_FIELD_NUMBER: _ClassVar[int]
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_FIELD_NUMBER: _ClassVar[int]
    id: int
    device_id: str
    sample: _fleet_pb2.Sample
    def __init__(self, id: _Optional[int] = ..., device_id: _Optional[str] = ..., sample: _Optional[_Union[_fleet_pb2.Sample, _Mapping]] = ...) -> None: ...

class FinishJobRequest(_message.Message):
    __slots__ = ("job_id", "state", "message", "candidates", "chosen", "attempt")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    CHOSEN_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    state: JobState
    message: str
    candidates: _containers.RepeatedCompositeFieldContainer[Candidate]
    chosen: _containers.RepeatedCompositeFieldContainer[ClassModel]
    attempt: int
    def __init__(self, job_id: _Optional[str] = ..., state: _Optional[_Union[JobState, str]] = ..., message: _Optional[str] = ..., candidates: _Optional[_Iterable[_Union[Candidate, _Mapping]]] = ..., chosen: _Optional[_Iterable[_Union[ClassModel, _Mapping]]] = ..., attempt: _Optional[int] = ...) -> None: ...

class PublishedModel(_message.Message):
    __slots__ = ("sha256", "name", "size_bytes", "published_at_ms", "job_id", "lineage", "certificate", "measurements", "statement_sha256", "rules")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    LINEAGE_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    MEASUREMENTS_FIELD_NUMBER: _ClassVar[int]
    STATEMENT_SHA256_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    sha256: bytes
    name: str
    size_bytes: int
    published_at_ms: int
    job_id: str
    lineage: _model_pb2.Lineage
    certificate: _model_pb2.Certificate
    measurements: _containers.RepeatedCompositeFieldContainer[_model_pb2.Measurement]
    statement_sha256: _containers.RepeatedScalarFieldContainer[bytes]
    rules: _model_pb2.RuleSet
    def __init__(self, sha256: _Optional[bytes] = ..., name: _Optional[str] = ..., size_bytes: _Optional[int] = ..., published_at_ms: _Optional[int] = ..., job_id: _Optional[str] = ..., lineage: _Optional[_Union[_model_pb2.Lineage, _Mapping]] = ..., certificate: _Optional[_Union[_model_pb2.Certificate, _Mapping]] = ..., measurements: _Optional[_Iterable[_Union[_model_pb2.Measurement, _Mapping]]] = ..., statement_sha256: _Optional[_Iterable[bytes]] = ..., rules: _Optional[_Union[_model_pb2.RuleSet, _Mapping]] = ...) -> None: ...

class ModelList(_message.Message):
    __slots__ = ("models", "revision")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[PublishedModel]
    revision: int
    def __init__(self, models: _Optional[_Iterable[_Union[PublishedModel, _Mapping]]] = ..., revision: _Optional[int] = ...) -> None: ...

class ModelEvent(_message.Message):
    __slots__ = ("revision", "model")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    revision: int
    model: PublishedModel
    def __init__(self, revision: _Optional[int] = ..., model: _Optional[_Union[PublishedModel, _Mapping]] = ...) -> None: ...

class Device(_message.Message):
    __slots__ = ("id", "facts", "online", "last_seen_ms", "assignment", "running_model_sha256", "action_state", "action_detail", "pairs", "samples_consent", "previous_model_sha256", "committed_generation")
    ID_FIELD_NUMBER: _ClassVar[int]
    FACTS_FIELD_NUMBER: _ClassVar[int]
    ONLINE_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_MS_FIELD_NUMBER: _ClassVar[int]
    ASSIGNMENT_FIELD_NUMBER: _ClassVar[int]
    RUNNING_MODEL_SHA256_FIELD_NUMBER: _ClassVar[int]
    ACTION_STATE_FIELD_NUMBER: _ClassVar[int]
    ACTION_DETAIL_FIELD_NUMBER: _ClassVar[int]
    PAIRS_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_CONSENT_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_MODEL_SHA256_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_GENERATION_FIELD_NUMBER: _ClassVar[int]
    id: str
    facts: _fleet_pb2.DeviceFacts
    online: bool
    last_seen_ms: int
    assignment: _fleet_pb2.Assignment
    running_model_sha256: bytes
    action_state: _fleet_pb2.ActionState
    action_detail: str
    pairs: _fleet_pb2.PairCounts
    samples_consent: bool
    previous_model_sha256: bytes
    committed_generation: int
    def __init__(self, id: _Optional[str] = ..., facts: _Optional[_Union[_fleet_pb2.DeviceFacts, _Mapping]] = ..., online: bool = ..., last_seen_ms: _Optional[int] = ..., assignment: _Optional[_Union[_fleet_pb2.Assignment, _Mapping]] = ..., running_model_sha256: _Optional[bytes] = ..., action_state: _Optional[_Union[_fleet_pb2.ActionState, str]] = ..., action_detail: _Optional[str] = ..., pairs: _Optional[_Union[_fleet_pb2.PairCounts, _Mapping]] = ..., samples_consent: bool = ..., previous_model_sha256: _Optional[bytes] = ..., committed_generation: _Optional[int] = ...) -> None: ...

class DeviceList(_message.Message):
    __slots__ = ("devices", "revision")
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    devices: _containers.RepeatedCompositeFieldContainer[Device]
    revision: int
    def __init__(self, devices: _Optional[_Iterable[_Union[Device, _Mapping]]] = ..., revision: _Optional[int] = ...) -> None: ...

class DeviceEvent(_message.Message):
    __slots__ = ("revision", "device")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    revision: int
    device: Device
    def __init__(self, revision: _Optional[int] = ..., device: _Optional[_Union[Device, _Mapping]] = ...) -> None: ...

class SampleStats(_message.Message):
    __slots__ = ("device_id", "samples", "oldest_ms", "expires_at_ms")
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    OLDEST_MS_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_MS_FIELD_NUMBER: _ClassVar[int]
    device_id: str
    samples: int
    oldest_ms: int
    expires_at_ms: int
    def __init__(self, device_id: _Optional[str] = ..., samples: _Optional[int] = ..., oldest_ms: _Optional[int] = ..., expires_at_ms: _Optional[int] = ...) -> None: ...

class SampleStatsList(_message.Message):
    __slots__ = ("stats",)
    STATS_FIELD_NUMBER: _ClassVar[int]
    stats: _containers.RepeatedCompositeFieldContainer[SampleStats]
    def __init__(self, stats: _Optional[_Iterable[_Union[SampleStats, _Mapping]]] = ...) -> None: ...

class DeleteSamplesResponse(_message.Message):
    __slots__ = ("deleted",)
    DELETED_FIELD_NUMBER: _ClassVar[int]
    deleted: int
    def __init__(self, deleted: _Optional[int] = ...) -> None: ...

class ClassModel(_message.Message):
    __slots__ = ("device_class", "model_sha256")
    DEVICE_CLASS_FIELD_NUMBER: _ClassVar[int]
    MODEL_SHA256_FIELD_NUMBER: _ClassVar[int]
    device_class: str
    model_sha256: bytes
    def __init__(self, device_class: _Optional[str] = ..., model_sha256: _Optional[bytes] = ...) -> None: ...

class Rollout(_message.Message):
    __slots__ = ("id", "model_name", "models", "state", "message", "waves", "job_id", "decision_id", "created_at_ms", "updated_at_ms")
    ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    WAVES_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    id: str
    model_name: str
    models: _containers.RepeatedCompositeFieldContainer[ClassModel]
    state: RolloutState
    message: str
    waves: _containers.RepeatedCompositeFieldContainer[Wave]
    job_id: str
    decision_id: str
    created_at_ms: int
    updated_at_ms: int
    def __init__(self, id: _Optional[str] = ..., model_name: _Optional[str] = ..., models: _Optional[_Iterable[_Union[ClassModel, _Mapping]]] = ..., state: _Optional[_Union[RolloutState, str]] = ..., message: _Optional[str] = ..., waves: _Optional[_Iterable[_Union[Wave, _Mapping]]] = ..., job_id: _Optional[str] = ..., decision_id: _Optional[str] = ..., created_at_ms: _Optional[int] = ..., updated_at_ms: _Optional[int] = ...) -> None: ...

class Wave(_message.Message):
    __slots__ = ("name", "gate", "devices")
    NAME_FIELD_NUMBER: _ClassVar[int]
    GATE_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    name: str
    gate: str
    devices: _containers.RepeatedCompositeFieldContainer[RolloutDevice]
    def __init__(self, name: _Optional[str] = ..., gate: _Optional[str] = ..., devices: _Optional[_Iterable[_Union[RolloutDevice, _Mapping]]] = ...) -> None: ...

class RolloutDevice(_message.Message):
    __slots__ = ("device_id", "model_sha256", "previous_model_sha256", "generation", "state", "verdict")
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_SHA256_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_MODEL_SHA256_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    device_id: str
    model_sha256: bytes
    previous_model_sha256: bytes
    generation: int
    state: _fleet_pb2.ActionState
    verdict: str
    def __init__(self, device_id: _Optional[str] = ..., model_sha256: _Optional[bytes] = ..., previous_model_sha256: _Optional[bytes] = ..., generation: _Optional[int] = ..., state: _Optional[_Union[_fleet_pb2.ActionState, str]] = ..., verdict: _Optional[str] = ...) -> None: ...

class StartRolloutRequest(_message.Message):
    __slots__ = ("models", "device_ids", "client_request_id", "skip_probation")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_IDS_FIELD_NUMBER: _ClassVar[int]
    CLIENT_REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SKIP_PROBATION_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[ClassModel]
    device_ids: _containers.RepeatedScalarFieldContainer[str]
    client_request_id: str
    skip_probation: bool
    def __init__(self, models: _Optional[_Iterable[_Union[ClassModel, _Mapping]]] = ..., device_ids: _Optional[_Iterable[str]] = ..., client_request_id: _Optional[str] = ..., skip_probation: bool = ...) -> None: ...

class RolloutList(_message.Message):
    __slots__ = ("rollouts", "revision")
    ROLLOUTS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    rollouts: _containers.RepeatedCompositeFieldContainer[Rollout]
    revision: int
    def __init__(self, rollouts: _Optional[_Iterable[_Union[Rollout, _Mapping]]] = ..., revision: _Optional[int] = ...) -> None: ...

class RolloutEvent(_message.Message):
    __slots__ = ("revision", "rollout")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_FIELD_NUMBER: _ClassVar[int]
    revision: int
    rollout: Rollout
    def __init__(self, revision: _Optional[int] = ..., rollout: _Optional[_Union[Rollout, _Mapping]] = ...) -> None: ...

class ApplyPolicyRequest(_message.Message):
    __slots__ = ("spec_yaml",)
    SPEC_YAML_FIELD_NUMBER: _ClassVar[int]
    spec_yaml: str
    def __init__(self, spec_yaml: _Optional[str] = ...) -> None: ...

class Policy(_message.Message):
    __slots__ = ("name", "spec_yaml", "updated_at_ms", "deleted")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SPEC_YAML_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    name: str
    spec_yaml: str
    updated_at_ms: int
    deleted: bool
    def __init__(self, name: _Optional[str] = ..., spec_yaml: _Optional[str] = ..., updated_at_ms: _Optional[int] = ..., deleted: bool = ...) -> None: ...

class PolicyList(_message.Message):
    __slots__ = ("policies", "revision")
    POLICIES_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    policies: _containers.RepeatedCompositeFieldContainer[Policy]
    revision: int
    def __init__(self, policies: _Optional[_Iterable[_Union[Policy, _Mapping]]] = ..., revision: _Optional[int] = ...) -> None: ...

class PolicyEvent(_message.Message):
    __slots__ = ("revision", "policy")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    revision: int
    policy: Policy
    def __init__(self, revision: _Optional[int] = ..., policy: _Optional[_Union[Policy, _Mapping]] = ...) -> None: ...

class Decision(_message.Message):
    __slots__ = ("id", "policy", "device_id", "model_sha256", "action", "reason", "evidence_json", "decided_at_ms", "job_id", "rollout_id", "outcome")
    ID_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_SHA256_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_JSON_FIELD_NUMBER: _ClassVar[int]
    DECIDED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_ID_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    id: str
    policy: str
    device_id: str
    model_sha256: bytes
    action: str
    reason: str
    evidence_json: str
    decided_at_ms: int
    job_id: str
    rollout_id: str
    outcome: str
    def __init__(self, id: _Optional[str] = ..., policy: _Optional[str] = ..., device_id: _Optional[str] = ..., model_sha256: _Optional[bytes] = ..., action: _Optional[str] = ..., reason: _Optional[str] = ..., evidence_json: _Optional[str] = ..., decided_at_ms: _Optional[int] = ..., job_id: _Optional[str] = ..., rollout_id: _Optional[str] = ..., outcome: _Optional[str] = ...) -> None: ...

class DecisionList(_message.Message):
    __slots__ = ("decisions", "revision")
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    decisions: _containers.RepeatedCompositeFieldContainer[Decision]
    revision: int
    def __init__(self, decisions: _Optional[_Iterable[_Union[Decision, _Mapping]]] = ..., revision: _Optional[int] = ...) -> None: ...

class DecisionEvent(_message.Message):
    __slots__ = ("revision", "decision")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    revision: int
    decision: Decision
    def __init__(self, revision: _Optional[int] = ..., decision: _Optional[_Union[Decision, _Mapping]] = ...) -> None: ...

class ReplayResponse(_message.Message):
    __slots__ = ("same", "replayed")
    SAME_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    same: bool
    replayed: Decision
    def __init__(self, same: bool = ..., replayed: _Optional[_Union[Decision, _Mapping]] = ...) -> None: ...

class TelemetryQuery(_message.Message):
    __slots__ = ("device_id", "device_class", "model_sha256", "from_ms", "until_ms")
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    DEVICE_CLASS_FIELD_NUMBER: _ClassVar[int]
    MODEL_SHA256_FIELD_NUMBER: _ClassVar[int]
    FROM_MS_FIELD_NUMBER: _ClassVar[int]
    UNTIL_MS_FIELD_NUMBER: _ClassVar[int]
    device_id: str
    device_class: str
    model_sha256: bytes
    from_ms: int
    until_ms: int
    def __init__(self, device_id: _Optional[str] = ..., device_class: _Optional[str] = ..., model_sha256: _Optional[bytes] = ..., from_ms: _Optional[int] = ..., until_ms: _Optional[int] = ...) -> None: ...

class TelemetrySummary(_message.Message):
    __slots__ = ("device_id", "model_sha256", "windows", "total", "dropped_records")
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_SHA256_FIELD_NUMBER: _ClassVar[int]
    WINDOWS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    DROPPED_RECORDS_FIELD_NUMBER: _ClassVar[int]
    device_id: str
    model_sha256: bytes
    windows: int
    total: _fleet_pb2.Window
    dropped_records: int
    def __init__(self, device_id: _Optional[str] = ..., model_sha256: _Optional[bytes] = ..., windows: _Optional[int] = ..., total: _Optional[_Union[_fleet_pb2.Window, _Mapping]] = ..., dropped_records: _Optional[int] = ...) -> None: ...

class TelemetrySummaryList(_message.Message):
    __slots__ = ("summaries", "revision")
    SUMMARIES_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    summaries: _containers.RepeatedCompositeFieldContainer[TelemetrySummary]
    revision: int
    def __init__(self, summaries: _Optional[_Iterable[_Union[TelemetrySummary, _Mapping]]] = ..., revision: _Optional[int] = ...) -> None: ...

class TelemetryEvent(_message.Message):
    __slots__ = ("revision", "device_id", "window")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    revision: int
    device_id: str
    window: _fleet_pb2.Window
    def __init__(self, revision: _Optional[int] = ..., device_id: _Optional[str] = ..., window: _Optional[_Union[_fleet_pb2.Window, _Mapping]] = ...) -> None: ...

class PutBlobRequest(_message.Message):
    __slots__ = ("header", "data")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    header: PutBlobHeader
    data: bytes
    def __init__(self, header: _Optional[_Union[PutBlobHeader, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class PutBlobHeader(_message.Message):
    __slots__ = ("blob", "offset")
    BLOB_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    blob: _model_pb2.BlobRef
    offset: int
    def __init__(self, blob: _Optional[_Union[_model_pb2.BlobRef, _Mapping]] = ..., offset: _Optional[int] = ...) -> None: ...

class GetBlobRequest(_message.Message):
    __slots__ = ("sha256", "offset")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    sha256: bytes
    offset: int
    def __init__(self, sha256: _Optional[bytes] = ..., offset: _Optional[int] = ...) -> None: ...

class BlobStat(_message.Message):
    __slots__ = ("blob", "complete", "received_bytes")
    BLOB_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_BYTES_FIELD_NUMBER: _ClassVar[int]
    blob: _model_pb2.BlobRef
    complete: bool
    received_bytes: int
    def __init__(self, blob: _Optional[_Union[_model_pb2.BlobRef, _Mapping]] = ..., complete: bool = ..., received_bytes: _Optional[int] = ...) -> None: ...
