from protos import model_pb2 as _model_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ActionState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ACTION_STATE_UNSPECIFIED: _ClassVar[ActionState]
    IDLE: _ClassVar[ActionState]
    ASSIGNED: _ClassVar[ActionState]
    DOWNLOADING: _ClassVar[ActionState]
    VERIFYING: _ClassVar[ActionState]
    STAGED: _ClassVar[ActionState]
    ACTIVATING: _ClassVar[ActionState]
    PROBATION: _ClassVar[ActionState]
    COMMITTED: _ClassVar[ActionState]
    ROLLED_BACK: _ClassVar[ActionState]
    FAILED: _ClassVar[ActionState]
    REJECTED: _ClassVar[ActionState]
ACTION_STATE_UNSPECIFIED: ActionState
IDLE: ActionState
ASSIGNED: ActionState
DOWNLOADING: ActionState
VERIFYING: ActionState
STAGED: ActionState
ACTIVATING: ActionState
PROBATION: ActionState
COMMITTED: ActionState
ROLLED_BACK: ActionState
FAILED: ActionState
REJECTED: ActionState

class SyncRequest(_message.Message):
    __slots__ = ("protocol_version", "boot_id", "facts", "generation", "running_model_sha256", "state", "action_id", "samples_consent")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    FACTS_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    RUNNING_MODEL_SHA256_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ACTION_ID_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_CONSENT_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    boot_id: str
    facts: DeviceFacts
    generation: int
    running_model_sha256: bytes
    state: ActionState
    action_id: str
    samples_consent: bool
    def __init__(self, protocol_version: _Optional[int] = ..., boot_id: _Optional[str] = ..., facts: _Optional[_Union[DeviceFacts, _Mapping]] = ..., generation: _Optional[int] = ..., running_model_sha256: _Optional[bytes] = ..., state: _Optional[_Union[ActionState, str]] = ..., action_id: _Optional[str] = ..., samples_consent: bool = ...) -> None: ...

class DeviceFacts(_message.Message):
    __slots__ = ("device_class", "agent_version", "engine_path", "engine_paths", "model_bytes_limit", "ram_bytes_limit", "latency_p95_limit_ms", "machine", "cpu_model")
    DEVICE_CLASS_FIELD_NUMBER: _ClassVar[int]
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    ENGINE_PATH_FIELD_NUMBER: _ClassVar[int]
    ENGINE_PATHS_FIELD_NUMBER: _ClassVar[int]
    MODEL_BYTES_LIMIT_FIELD_NUMBER: _ClassVar[int]
    RAM_BYTES_LIMIT_FIELD_NUMBER: _ClassVar[int]
    LATENCY_P95_LIMIT_MS_FIELD_NUMBER: _ClassVar[int]
    MACHINE_FIELD_NUMBER: _ClassVar[int]
    CPU_MODEL_FIELD_NUMBER: _ClassVar[int]
    device_class: str
    agent_version: str
    engine_path: str
    engine_paths: _containers.RepeatedScalarFieldContainer[str]
    model_bytes_limit: int
    ram_bytes_limit: int
    latency_p95_limit_ms: float
    machine: str
    cpu_model: str
    def __init__(self, device_class: _Optional[str] = ..., agent_version: _Optional[str] = ..., engine_path: _Optional[str] = ..., engine_paths: _Optional[_Iterable[str]] = ..., model_bytes_limit: _Optional[int] = ..., ram_bytes_limit: _Optional[int] = ..., latency_p95_limit_ms: _Optional[float] = ..., machine: _Optional[str] = ..., cpu_model: _Optional[str] = ...) -> None: ...

class SyncResponse(_message.Message):
    __slots__ = ("assignment", "committed_generation", "benchmarks", "sample_quota", "sync_after_s", "telemetry_next_seq")
    ASSIGNMENT_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_GENERATION_FIELD_NUMBER: _ClassVar[int]
    BENCHMARKS_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_QUOTA_FIELD_NUMBER: _ClassVar[int]
    SYNC_AFTER_S_FIELD_NUMBER: _ClassVar[int]
    TELEMETRY_NEXT_SEQ_FIELD_NUMBER: _ClassVar[int]
    assignment: Assignment
    committed_generation: int
    benchmarks: _containers.RepeatedCompositeFieldContainer[BenchmarkRequest]
    sample_quota: SampleQuota
    sync_after_s: float
    telemetry_next_seq: int
    def __init__(self, assignment: _Optional[_Union[Assignment, _Mapping]] = ..., committed_generation: _Optional[int] = ..., benchmarks: _Optional[_Iterable[_Union[BenchmarkRequest, _Mapping]]] = ..., sample_quota: _Optional[_Union[SampleQuota, _Mapping]] = ..., sync_after_s: _Optional[float] = ..., telemetry_next_seq: _Optional[int] = ...) -> None: ...

class Assignment(_message.Message):
    __slots__ = ("generation", "action_id", "model_name", "model", "probation", "signature")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    ACTION_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROBATION_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    generation: int
    action_id: str
    model_name: str
    model: _model_pb2.BlobRef
    probation: Probation
    signature: bytes
    def __init__(self, generation: _Optional[int] = ..., action_id: _Optional[str] = ..., model_name: _Optional[str] = ..., model: _Optional[_Union[_model_pb2.BlobRef, _Mapping]] = ..., probation: _Optional[_Union[Probation, _Mapping]] = ..., signature: _Optional[bytes] = ...) -> None: ...

class Probation(_message.Message):
    __slots__ = ("timeout_s", "max_error_rate", "max_latency_p95_ms", "slower_ratio", "guard_min_requests")
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    MAX_ERROR_RATE_FIELD_NUMBER: _ClassVar[int]
    MAX_LATENCY_P95_MS_FIELD_NUMBER: _ClassVar[int]
    SLOWER_RATIO_FIELD_NUMBER: _ClassVar[int]
    GUARD_MIN_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    timeout_s: float
    max_error_rate: float
    max_latency_p95_ms: float
    slower_ratio: float
    guard_min_requests: int
    def __init__(self, timeout_s: _Optional[float] = ..., max_error_rate: _Optional[float] = ..., max_latency_p95_ms: _Optional[float] = ..., slower_ratio: _Optional[float] = ..., guard_min_requests: _Optional[int] = ...) -> None: ...

class BenchmarkRequest(_message.Message):
    __slots__ = ("id", "model", "warmup", "runs")
    ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    WARMUP_FIELD_NUMBER: _ClassVar[int]
    RUNS_FIELD_NUMBER: _ClassVar[int]
    id: str
    model: _model_pb2.BlobRef
    warmup: int
    runs: int
    def __init__(self, id: _Optional[str] = ..., model: _Optional[_Union[_model_pb2.BlobRef, _Mapping]] = ..., warmup: _Optional[int] = ..., runs: _Optional[int] = ...) -> None: ...

class SampleQuota(_message.Message):
    __slots__ = ("wanted", "remaining")
    WANTED_FIELD_NUMBER: _ClassVar[int]
    REMAINING_FIELD_NUMBER: _ClassVar[int]
    wanted: bool
    remaining: int
    def __init__(self, wanted: bool = ..., remaining: _Optional[int] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("boot_id",)
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    boot_id: str
    def __init__(self, boot_id: _Optional[str] = ...) -> None: ...

class Doorbell(_message.Message):
    __slots__ = ("hello", "sync_now", "heartbeat", "goodbye")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    SYNC_NOW_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    GOODBYE_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    sync_now: int
    heartbeat: Heartbeat
    goodbye: Goodbye
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., sync_now: _Optional[int] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., goodbye: _Optional[_Union[Goodbye, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("session_epoch",)
    SESSION_EPOCH_FIELD_NUMBER: _ClassVar[int]
    session_epoch: int
    def __init__(self, session_epoch: _Optional[int] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Goodbye(_message.Message):
    __slots__ = ("retry_after_s",)
    RETRY_AFTER_S_FIELD_NUMBER: _ClassVar[int]
    retry_after_s: float
    def __init__(self, retry_after_s: _Optional[float] = ...) -> None: ...

class ReportRequest(_message.Message):
    __slots__ = ("boot_id", "action", "benchmark")
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    BENCHMARK_FIELD_NUMBER: _ClassVar[int]
    boot_id: str
    action: ActionReport
    benchmark: BenchmarkReport
    def __init__(self, boot_id: _Optional[str] = ..., action: _Optional[_Union[ActionReport, _Mapping]] = ..., benchmark: _Optional[_Union[BenchmarkReport, _Mapping]] = ...) -> None: ...

class ActionReport(_message.Message):
    __slots__ = ("action_id", "generation", "seq", "state", "detail", "pairs")
    ACTION_ID_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    PAIRS_FIELD_NUMBER: _ClassVar[int]
    action_id: str
    generation: int
    seq: int
    state: ActionState
    detail: str
    pairs: PairCounts
    def __init__(self, action_id: _Optional[str] = ..., generation: _Optional[int] = ..., seq: _Optional[int] = ..., state: _Optional[_Union[ActionState, str]] = ..., detail: _Optional[str] = ..., pairs: _Optional[_Union[PairCounts, _Mapping]] = ...) -> None: ...

class PairCounts(_message.Message):
    __slots__ = ("pairs", "agreements", "slower", "both_correct", "only_old_correct", "only_new_correct", "both_wrong", "new_errors", "old_engine_latency_us", "new_engine_latency_us")
    PAIRS_FIELD_NUMBER: _ClassVar[int]
    AGREEMENTS_FIELD_NUMBER: _ClassVar[int]
    SLOWER_FIELD_NUMBER: _ClassVar[int]
    BOTH_CORRECT_FIELD_NUMBER: _ClassVar[int]
    ONLY_OLD_CORRECT_FIELD_NUMBER: _ClassVar[int]
    ONLY_NEW_CORRECT_FIELD_NUMBER: _ClassVar[int]
    BOTH_WRONG_FIELD_NUMBER: _ClassVar[int]
    NEW_ERRORS_FIELD_NUMBER: _ClassVar[int]
    OLD_ENGINE_LATENCY_US_FIELD_NUMBER: _ClassVar[int]
    NEW_ENGINE_LATENCY_US_FIELD_NUMBER: _ClassVar[int]
    pairs: int
    agreements: int
    slower: int
    both_correct: int
    only_old_correct: int
    only_new_correct: int
    both_wrong: int
    new_errors: int
    old_engine_latency_us: Sketch
    new_engine_latency_us: Sketch
    def __init__(self, pairs: _Optional[int] = ..., agreements: _Optional[int] = ..., slower: _Optional[int] = ..., both_correct: _Optional[int] = ..., only_old_correct: _Optional[int] = ..., only_new_correct: _Optional[int] = ..., both_wrong: _Optional[int] = ..., new_errors: _Optional[int] = ..., old_engine_latency_us: _Optional[_Union[Sketch, _Mapping]] = ..., new_engine_latency_us: _Optional[_Union[Sketch, _Mapping]] = ...) -> None: ...

class BenchmarkReport(_message.Message):
    __slots__ = ("id", "error", "measurement")
    ID_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    MEASUREMENT_FIELD_NUMBER: _ClassVar[int]
    id: str
    error: str
    measurement: _model_pb2.Measurement
    def __init__(self, id: _Optional[str] = ..., error: _Optional[str] = ..., measurement: _Optional[_Union[_model_pb2.Measurement, _Mapping]] = ...) -> None: ...

class ReportResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Sketch(_message.Message):
    __slots__ = ("relative_error", "zero_count", "bins", "counts", "sum", "min", "max")
    RELATIVE_ERROR_FIELD_NUMBER: _ClassVar[int]
    ZERO_COUNT_FIELD_NUMBER: _ClassVar[int]
    BINS_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    SUM_FIELD_NUMBER: _ClassVar[int]
    MIN_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    relative_error: float
    zero_count: int
    bins: _containers.RepeatedScalarFieldContainer[int]
    counts: _containers.RepeatedScalarFieldContainer[int]
    sum: float
    min: float
    max: float
    def __init__(self, relative_error: _Optional[float] = ..., zero_count: _Optional[int] = ..., bins: _Optional[_Iterable[int]] = ..., counts: _Optional[_Iterable[int]] = ..., sum: _Optional[float] = ..., min: _Optional[float] = ..., max: _Optional[float] = ...) -> None: ...

class Window(_message.Message):
    __slots__ = ("model_sha256", "start_ms", "end_ms", "requests", "errors", "engine_latency_us", "request_latency_us", "confidence_histogram", "class_counts", "labelled", "labelled_correct", "feedback_late", "feedback_unmatched", "rss_bytes", "cpu_seconds")
    MODEL_SHA256_FIELD_NUMBER: _ClassVar[int]
    START_MS_FIELD_NUMBER: _ClassVar[int]
    END_MS_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    ENGINE_LATENCY_US_FIELD_NUMBER: _ClassVar[int]
    REQUEST_LATENCY_US_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_HISTOGRAM_FIELD_NUMBER: _ClassVar[int]
    CLASS_COUNTS_FIELD_NUMBER: _ClassVar[int]
    LABELLED_FIELD_NUMBER: _ClassVar[int]
    LABELLED_CORRECT_FIELD_NUMBER: _ClassVar[int]
    FEEDBACK_LATE_FIELD_NUMBER: _ClassVar[int]
    FEEDBACK_UNMATCHED_FIELD_NUMBER: _ClassVar[int]
    RSS_BYTES_FIELD_NUMBER: _ClassVar[int]
    CPU_SECONDS_FIELD_NUMBER: _ClassVar[int]
    model_sha256: bytes
    start_ms: int
    end_ms: int
    requests: int
    errors: int
    engine_latency_us: Sketch
    request_latency_us: Sketch
    confidence_histogram: _containers.RepeatedScalarFieldContainer[int]
    class_counts: _containers.RepeatedScalarFieldContainer[int]
    labelled: int
    labelled_correct: int
    feedback_late: int
    feedback_unmatched: int
    rss_bytes: int
    cpu_seconds: float
    def __init__(self, model_sha256: _Optional[bytes] = ..., start_ms: _Optional[int] = ..., end_ms: _Optional[int] = ..., requests: _Optional[int] = ..., errors: _Optional[int] = ..., engine_latency_us: _Optional[_Union[Sketch, _Mapping]] = ..., request_latency_us: _Optional[_Union[Sketch, _Mapping]] = ..., confidence_histogram: _Optional[_Iterable[int]] = ..., class_counts: _Optional[_Iterable[int]] = ..., labelled: _Optional[int] = ..., labelled_correct: _Optional[int] = ..., feedback_late: _Optional[int] = ..., feedback_unmatched: _Optional[int] = ..., rss_bytes: _Optional[int] = ..., cpu_seconds: _Optional[float] = ...) -> None: ...

class DroppedRange(_message.Message):
    __slots__ = ("first_seq", "last_seq", "reason")
    FIRST_SEQ_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQ_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    first_seq: int
    last_seq: int
    reason: str
    def __init__(self, first_seq: _Optional[int] = ..., last_seq: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class TelemetryRecord(_message.Message):
    __slots__ = ("seq", "window", "dropped")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    seq: int
    window: Window
    dropped: DroppedRange
    def __init__(self, seq: _Optional[int] = ..., window: _Optional[_Union[Window, _Mapping]] = ..., dropped: _Optional[_Union[DroppedRange, _Mapping]] = ...) -> None: ...

class PushTelemetryRequest(_message.Message):
    __slots__ = ("spool_id", "records")
    SPOOL_ID_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    spool_id: str
    records: _containers.RepeatedCompositeFieldContainer[TelemetryRecord]
    def __init__(self, spool_id: _Optional[str] = ..., records: _Optional[_Iterable[_Union[TelemetryRecord, _Mapping]]] = ...) -> None: ...

class PushTelemetryResponse(_message.Message):
    __slots__ = ("next_seq",)
    NEXT_SEQ_FIELD_NUMBER: _ClassVar[int]
    next_seq: int
    def __init__(self, next_seq: _Optional[int] = ...) -> None: ...

class Sample(_message.Message):
    __slots__ = ("seq", "model_sha256", "observed_at_ms", "label", "predicted", "raw", "float32")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    MODEL_SHA256_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_FIELD_NUMBER: _ClassVar[int]
    RAW_FIELD_NUMBER: _ClassVar[int]
    FLOAT32_FIELD_NUMBER: _ClassVar[int]
    seq: int
    model_sha256: bytes
    observed_at_ms: int
    label: int
    predicted: int
    raw: bytes
    float32: bytes
    def __init__(self, seq: _Optional[int] = ..., model_sha256: _Optional[bytes] = ..., observed_at_ms: _Optional[int] = ..., label: _Optional[int] = ..., predicted: _Optional[int] = ..., raw: _Optional[bytes] = ..., float32: _Optional[bytes] = ...) -> None: ...

class PushSamplesRequest(_message.Message):
    __slots__ = ("spool_id", "samples")
    SPOOL_ID_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    spool_id: str
    samples: _containers.RepeatedCompositeFieldContainer[Sample]
    def __init__(self, spool_id: _Optional[str] = ..., samples: _Optional[_Iterable[_Union[Sample, _Mapping]]] = ...) -> None: ...

class PushSamplesResponse(_message.Message):
    __slots__ = ("next_seq", "quota_remaining")
    NEXT_SEQ_FIELD_NUMBER: _ClassVar[int]
    QUOTA_REMAINING_FIELD_NUMBER: _ClassVar[int]
    next_seq: int
    quota_remaining: int
    def __init__(self, next_seq: _Optional[int] = ..., quota_remaining: _Optional[int] = ...) -> None: ...

class GetBlobsRequest(_message.Message):
    __slots__ = ("ranges",)
    RANGES_FIELD_NUMBER: _ClassVar[int]
    ranges: _containers.RepeatedCompositeFieldContainer[BlobRange]
    def __init__(self, ranges: _Optional[_Iterable[_Union[BlobRange, _Mapping]]] = ...) -> None: ...

class BlobRange(_message.Message):
    __slots__ = ("sha256", "offset")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    sha256: bytes
    offset: int
    def __init__(self, sha256: _Optional[bytes] = ..., offset: _Optional[int] = ...) -> None: ...

class BlobChunk(_message.Message):
    __slots__ = ("sha256", "offset", "size_bytes", "data")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    sha256: bytes
    offset: int
    size_bytes: int
    data: bytes
    def __init__(self, sha256: _Optional[bytes] = ..., offset: _Optional[int] = ..., size_bytes: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...
