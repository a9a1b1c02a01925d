from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DTYPE_UNSPECIFIED: _ClassVar[DType]
    INT8: _ClassVar[DType]
    UINT8: _ClassVar[DType]
    INT16: _ClassVar[DType]
    INT32: _ClassVar[DType]
    UINT32: _ClassVar[DType]
    FLOAT32: _ClassVar[DType]

class Encoding(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ENCODING_UNSPECIFIED: _ClassVar[Encoding]
    DENSE: _ClassVar[Encoding]
    PACKED: _ClassVar[Encoding]
    BLOCK_SPARSE: _ClassVar[Encoding]
DTYPE_UNSPECIFIED: DType
INT8: DType
UINT8: DType
INT16: DType
INT32: DType
UINT32: DType
FLOAT32: DType
ENCODING_UNSPECIFIED: Encoding
DENSE: Encoding
PACKED: Encoding
BLOCK_SPARSE: Encoding

class Model(_message.Message):
    __slots__ = ("format_version", "name", "input", "output", "activations", "tensors", "operators", "golden")
    FORMAT_VERSION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    ACTIVATIONS_FIELD_NUMBER: _ClassVar[int]
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    OPERATORS_FIELD_NUMBER: _ClassVar[int]
    GOLDEN_FIELD_NUMBER: _ClassVar[int]
    format_version: int
    name: str
    input: Input
    output: Output
    activations: _containers.RepeatedCompositeFieldContainer[Activation]
    tensors: _containers.RepeatedCompositeFieldContainer[Tensor]
    operators: _containers.RepeatedCompositeFieldContainer[Operator]
    golden: BlobRef
    def __init__(self, format_version: _Optional[int] = ..., name: _Optional[str] = ..., input: _Optional[_Union[Input, _Mapping]] = ..., output: _Optional[_Union[Output, _Mapping]] = ..., activations: _Optional[_Iterable[_Union[Activation, _Mapping]]] = ..., tensors: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., operators: _Optional[_Iterable[_Union[Operator, _Mapping]]] = ..., golden: _Optional[_Union[BlobRef, _Mapping]] = ...) -> None: ...

class BlobRef(_message.Message):
    __slots__ = ("sha256", "size_bytes")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    sha256: bytes
    size_bytes: int
    def __init__(self, sha256: _Optional[bytes] = ..., size_bytes: _Optional[int] = ...) -> None: ...

class Activation(_message.Message):
    __slots__ = ("name", "dtype", "shape", "scale", "zero_point")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    ZERO_POINT_FIELD_NUMBER: _ClassVar[int]
    name: str
    dtype: DType
    shape: _containers.RepeatedScalarFieldContainer[int]
    scale: float
    zero_point: int
    def __init__(self, name: _Optional[str] = ..., dtype: _Optional[_Union[DType, str]] = ..., shape: _Optional[_Iterable[int]] = ..., scale: _Optional[float] = ..., zero_point: _Optional[int] = ...) -> None: ...

class Tensor(_message.Message):
    __slots__ = ("name", "dtype", "shape", "encoding", "bits", "blob", "inline", "block_rows", "blocks")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    BITS_FIELD_NUMBER: _ClassVar[int]
    BLOB_FIELD_NUMBER: _ClassVar[int]
    INLINE_FIELD_NUMBER: _ClassVar[int]
    BLOCK_ROWS_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    name: str
    dtype: DType
    shape: _containers.RepeatedScalarFieldContainer[int]
    encoding: Encoding
    bits: int
    blob: BlobRef
    inline: bytes
    block_rows: int
    blocks: int
    def __init__(self, name: _Optional[str] = ..., dtype: _Optional[_Union[DType, str]] = ..., shape: _Optional[_Iterable[int]] = ..., encoding: _Optional[_Union[Encoding, str]] = ..., bits: _Optional[int] = ..., blob: _Optional[_Union[BlobRef, _Mapping]] = ..., inline: _Optional[bytes] = ..., block_rows: _Optional[int] = ..., blocks: _Optional[int] = ...) -> None: ...

class Input(_message.Message):
    __slots__ = ("activation", "raw_table", "multiplier", "channel_affine")
    ACTIVATION_FIELD_NUMBER: _ClassVar[int]
    RAW_TABLE_FIELD_NUMBER: _ClassVar[int]
    MULTIPLIER_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_AFFINE_FIELD_NUMBER: _ClassVar[int]
    activation: int
    raw_table: int
    multiplier: float
    channel_affine: int
    def __init__(self, activation: _Optional[int] = ..., raw_table: _Optional[int] = ..., multiplier: _Optional[float] = ..., channel_affine: _Optional[int] = ...) -> None: ...

class Output(_message.Message):
    __slots__ = ("activation", "labels")
    ACTIVATION_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    activation: int
    labels: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, activation: _Optional[int] = ..., labels: _Optional[_Iterable[str]] = ...) -> None: ...

class Operator(_message.Message):
    __slots__ = ("name", "inputs", "output", "conv2d", "linear", "add", "concat", "max_pool", "average_pool", "flatten", "clamp", "table", "softmax", "reshape", "permute", "matmul", "layer_norm", "multiply", "constant", "rule_table", "select")
    NAME_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    CONV2D_FIELD_NUMBER: _ClassVar[int]
    LINEAR_FIELD_NUMBER: _ClassVar[int]
    ADD_FIELD_NUMBER: _ClassVar[int]
    CONCAT_FIELD_NUMBER: _ClassVar[int]
    MAX_POOL_FIELD_NUMBER: _ClassVar[int]
    AVERAGE_POOL_FIELD_NUMBER: _ClassVar[int]
    FLATTEN_FIELD_NUMBER: _ClassVar[int]
    CLAMP_FIELD_NUMBER: _ClassVar[int]
    TABLE_FIELD_NUMBER: _ClassVar[int]
    SOFTMAX_FIELD_NUMBER: _ClassVar[int]
    RESHAPE_FIELD_NUMBER: _ClassVar[int]
    PERMUTE_FIELD_NUMBER: _ClassVar[int]
    MATMUL_FIELD_NUMBER: _ClassVar[int]
    LAYER_NORM_FIELD_NUMBER: _ClassVar[int]
    MULTIPLY_FIELD_NUMBER: _ClassVar[int]
    CONSTANT_FIELD_NUMBER: _ClassVar[int]
    RULE_TABLE_FIELD_NUMBER: _ClassVar[int]
    SELECT_FIELD_NUMBER: _ClassVar[int]
    name: str
    inputs: _containers.RepeatedScalarFieldContainer[int]
    output: int
    conv2d: Conv2D
    linear: Linear
    add: Add
    concat: Concat
    max_pool: MaxPool
    average_pool: AveragePool
    flatten: Flatten
    clamp: Clamp
    table: Table
    softmax: Softmax
    reshape: Reshape
    permute: Permute
    matmul: MatMul
    layer_norm: LayerNorm
    multiply: Multiply
    constant: Constant
    rule_table: RuleTable
    select: Select
    def __init__(self, name: _Optional[str] = ..., inputs: _Optional[_Iterable[int]] = ..., output: _Optional[int] = ..., conv2d: _Optional[_Union[Conv2D, _Mapping]] = ..., linear: _Optional[_Union[Linear, _Mapping]] = ..., add: _Optional[_Union[Add, _Mapping]] = ..., concat: _Optional[_Union[Concat, _Mapping]] = ..., max_pool: _Optional[_Union[MaxPool, _Mapping]] = ..., average_pool: _Optional[_Union[AveragePool, _Mapping]] = ..., flatten: _Optional[_Union[Flatten, _Mapping]] = ..., clamp: _Optional[_Union[Clamp, _Mapping]] = ..., table: _Optional[_Union[Table, _Mapping]] = ..., softmax: _Optional[_Union[Softmax, _Mapping]] = ..., reshape: _Optional[_Union[Reshape, _Mapping]] = ..., permute: _Optional[_Union[Permute, _Mapping]] = ..., matmul: _Optional[_Union[MatMul, _Mapping]] = ..., layer_norm: _Optional[_Union[LayerNorm, _Mapping]] = ..., multiply: _Optional[_Union[Multiply, _Mapping]] = ..., constant: _Optional[_Union[Constant, _Mapping]] = ..., rule_table: _Optional[_Union[RuleTable, _Mapping]] = ..., select: _Optional[_Union[Select, _Mapping]] = ...) -> None: ...

class Requantize(_message.Message):
    __slots__ = ("multiplier", "shift", "qmin", "qmax")
    MULTIPLIER_FIELD_NUMBER: _ClassVar[int]
    SHIFT_FIELD_NUMBER: _ClassVar[int]
    QMIN_FIELD_NUMBER: _ClassVar[int]
    QMAX_FIELD_NUMBER: _ClassVar[int]
    multiplier: int
    shift: int
    qmin: int
    qmax: int
    def __init__(self, multiplier: _Optional[int] = ..., shift: _Optional[int] = ..., qmin: _Optional[int] = ..., qmax: _Optional[int] = ...) -> None: ...

class Conv2D(_message.Message):
    __slots__ = ("weight", "bias", "stride_h", "stride_w", "padding", "groups", "requantize")
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    BIAS_FIELD_NUMBER: _ClassVar[int]
    STRIDE_H_FIELD_NUMBER: _ClassVar[int]
    STRIDE_W_FIELD_NUMBER: _ClassVar[int]
    PADDING_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    REQUANTIZE_FIELD_NUMBER: _ClassVar[int]
    weight: int
    bias: int
    stride_h: int
    stride_w: int
    padding: Padding
    groups: int
    requantize: Requantize
    def __init__(self, weight: _Optional[int] = ..., bias: _Optional[int] = ..., stride_h: _Optional[int] = ..., stride_w: _Optional[int] = ..., padding: _Optional[_Union[Padding, _Mapping]] = ..., groups: _Optional[int] = ..., requantize: _Optional[_Union[Requantize, _Mapping]] = ...) -> None: ...

class Padding(_message.Message):
    __slots__ = ("top", "bottom", "left", "right")
    TOP_FIELD_NUMBER: _ClassVar[int]
    BOTTOM_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    RIGHT_FIELD_NUMBER: _ClassVar[int]
    top: int
    bottom: int
    left: int
    right: int
    def __init__(self, top: _Optional[int] = ..., bottom: _Optional[int] = ..., left: _Optional[int] = ..., right: _Optional[int] = ...) -> None: ...

class Linear(_message.Message):
    __slots__ = ("weight", "bias", "requantize")
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    BIAS_FIELD_NUMBER: _ClassVar[int]
    REQUANTIZE_FIELD_NUMBER: _ClassVar[int]
    weight: int
    bias: int
    requantize: Requantize
    def __init__(self, weight: _Optional[int] = ..., bias: _Optional[int] = ..., requantize: _Optional[_Union[Requantize, _Mapping]] = ...) -> None: ...

class Add(_message.Message):
    __slots__ = ("multiplier_a", "multiplier_b", "requantize")
    MULTIPLIER_A_FIELD_NUMBER: _ClassVar[int]
    MULTIPLIER_B_FIELD_NUMBER: _ClassVar[int]
    REQUANTIZE_FIELD_NUMBER: _ClassVar[int]
    multiplier_a: int
    multiplier_b: int
    requantize: Requantize
    def __init__(self, multiplier_a: _Optional[int] = ..., multiplier_b: _Optional[int] = ..., requantize: _Optional[_Union[Requantize, _Mapping]] = ...) -> None: ...

class Concat(_message.Message):
    __slots__ = ("requantize",)
    REQUANTIZE_FIELD_NUMBER: _ClassVar[int]
    requantize: _containers.RepeatedCompositeFieldContainer[Requantize]
    def __init__(self, requantize: _Optional[_Iterable[_Union[Requantize, _Mapping]]] = ...) -> None: ...

class MaxPool(_message.Message):
    __slots__ = ("kernel_h", "kernel_w", "stride_h", "stride_w", "padding")
    KERNEL_H_FIELD_NUMBER: _ClassVar[int]
    KERNEL_W_FIELD_NUMBER: _ClassVar[int]
    STRIDE_H_FIELD_NUMBER: _ClassVar[int]
    STRIDE_W_FIELD_NUMBER: _ClassVar[int]
    PADDING_FIELD_NUMBER: _ClassVar[int]
    kernel_h: int
    kernel_w: int
    stride_h: int
    stride_w: int
    padding: Padding
    def __init__(self, kernel_h: _Optional[int] = ..., kernel_w: _Optional[int] = ..., stride_h: _Optional[int] = ..., stride_w: _Optional[int] = ..., padding: _Optional[_Union[Padding, _Mapping]] = ...) -> None: ...

class AveragePool(_message.Message):
    __slots__ = ("kernel_h", "kernel_w", "stride_h", "stride_w", "padding", "reciprocal", "requantize")
    KERNEL_H_FIELD_NUMBER: _ClassVar[int]
    KERNEL_W_FIELD_NUMBER: _ClassVar[int]
    STRIDE_H_FIELD_NUMBER: _ClassVar[int]
    STRIDE_W_FIELD_NUMBER: _ClassVar[int]
    PADDING_FIELD_NUMBER: _ClassVar[int]
    RECIPROCAL_FIELD_NUMBER: _ClassVar[int]
    REQUANTIZE_FIELD_NUMBER: _ClassVar[int]
    kernel_h: int
    kernel_w: int
    stride_h: int
    stride_w: int
    padding: Padding
    reciprocal: int
    requantize: Requantize
    def __init__(self, kernel_h: _Optional[int] = ..., kernel_w: _Optional[int] = ..., stride_h: _Optional[int] = ..., stride_w: _Optional[int] = ..., padding: _Optional[_Union[Padding, _Mapping]] = ..., reciprocal: _Optional[int] = ..., requantize: _Optional[_Union[Requantize, _Mapping]] = ...) -> None: ...

class Flatten(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Clamp(_message.Message):
    __slots__ = ("qmin", "qmax")
    QMIN_FIELD_NUMBER: _ClassVar[int]
    QMAX_FIELD_NUMBER: _ClassVar[int]
    qmin: int
    qmax: int
    def __init__(self, qmin: _Optional[int] = ..., qmax: _Optional[int] = ...) -> None: ...

class Table(_message.Message):
    __slots__ = ("table",)
    TABLE_FIELD_NUMBER: _ClassVar[int]
    table: int
    def __init__(self, table: _Optional[int] = ...) -> None: ...

class Softmax(_message.Message):
    __slots__ = ("table",)
    TABLE_FIELD_NUMBER: _ClassVar[int]
    table: int
    def __init__(self, table: _Optional[int] = ...) -> None: ...

class RuleTable(_message.Message):
    __slots__ = ("nodes", "scores", "trees", "requantize")
    NODES_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    TREES_FIELD_NUMBER: _ClassVar[int]
    REQUANTIZE_FIELD_NUMBER: _ClassVar[int]
    nodes: int
    scores: int
    trees: int
    requantize: Requantize
    def __init__(self, nodes: _Optional[int] = ..., scores: _Optional[int] = ..., trees: _Optional[int] = ..., requantize: _Optional[_Union[Requantize, _Mapping]] = ...) -> None: ...

class Select(_message.Message):
    __slots__ = ("threshold",)
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    threshold: int
    def __init__(self, threshold: _Optional[int] = ...) -> None: ...

class Reshape(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Permute(_message.Message):
    __slots__ = ("axes",)
    AXES_FIELD_NUMBER: _ClassVar[int]
    axes: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, axes: _Optional[_Iterable[int]] = ...) -> None: ...

class MatMul(_message.Message):
    __slots__ = ("heads", "a_stacked", "b_stacked", "b_transposed", "output_stacked", "requantize")
    HEADS_FIELD_NUMBER: _ClassVar[int]
    A_STACKED_FIELD_NUMBER: _ClassVar[int]
    B_STACKED_FIELD_NUMBER: _ClassVar[int]
    B_TRANSPOSED_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_STACKED_FIELD_NUMBER: _ClassVar[int]
    REQUANTIZE_FIELD_NUMBER: _ClassVar[int]
    heads: int
    a_stacked: bool
    b_stacked: bool
    b_transposed: bool
    output_stacked: bool
    requantize: Requantize
    def __init__(self, heads: _Optional[int] = ..., a_stacked: bool = ..., b_stacked: bool = ..., b_transposed: bool = ..., output_stacked: bool = ..., requantize: _Optional[_Union[Requantize, _Mapping]] = ...) -> None: ...

class LayerNorm(_message.Message):
    __slots__ = ("gain", "bias", "epsilon", "requantize")
    GAIN_FIELD_NUMBER: _ClassVar[int]
    BIAS_FIELD_NUMBER: _ClassVar[int]
    EPSILON_FIELD_NUMBER: _ClassVar[int]
    REQUANTIZE_FIELD_NUMBER: _ClassVar[int]
    gain: int
    bias: int
    epsilon: int
    requantize: Requantize
    def __init__(self, gain: _Optional[int] = ..., bias: _Optional[int] = ..., epsilon: _Optional[int] = ..., requantize: _Optional[_Union[Requantize, _Mapping]] = ...) -> None: ...

class Multiply(_message.Message):
    __slots__ = ("requantize",)
    REQUANTIZE_FIELD_NUMBER: _ClassVar[int]
    requantize: Requantize
    def __init__(self, requantize: _Optional[_Union[Requantize, _Mapping]] = ...) -> None: ...

class Constant(_message.Message):
    __slots__ = ("value",)
    VALUE_FIELD_NUMBER: _ClassVar[int]
    value: int
    def __init__(self, value: _Optional[int] = ...) -> None: ...

class GoldenVectors(_message.Message):
    __slots__ = ("cases",)
    CASES_FIELD_NUMBER: _ClassVar[int]
    cases: _containers.RepeatedCompositeFieldContainer[GoldenCase]
    def __init__(self, cases: _Optional[_Iterable[_Union[GoldenCase, _Mapping]]] = ...) -> None: ...

class GoldenCase(_message.Message):
    __slots__ = ("raw", "float32", "output", "operator_sha256")
    RAW_FIELD_NUMBER: _ClassVar[int]
    FLOAT32_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    OPERATOR_SHA256_FIELD_NUMBER: _ClassVar[int]
    raw: bytes
    float32: bytes
    output: bytes
    operator_sha256: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, raw: _Optional[bytes] = ..., float32: _Optional[bytes] = ..., output: _Optional[bytes] = ..., operator_sha256: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Statement(_message.Message):
    __slots__ = ("model_sha256", "issued_at_ms", "lineage", "measurement", "certificate", "rules")
    MODEL_SHA256_FIELD_NUMBER: _ClassVar[int]
    ISSUED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    LINEAGE_FIELD_NUMBER: _ClassVar[int]
    MEASUREMENT_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    model_sha256: bytes
    issued_at_ms: int
    lineage: Lineage
    measurement: Measurement
    certificate: Certificate
    rules: RuleSet
    def __init__(self, model_sha256: _Optional[bytes] = ..., issued_at_ms: _Optional[int] = ..., lineage: _Optional[_Union[Lineage, _Mapping]] = ..., measurement: _Optional[_Union[Measurement, _Mapping]] = ..., certificate: _Optional[_Union[Certificate, _Mapping]] = ..., rules: _Optional[_Union[RuleSet, _Mapping]] = ...) -> None: ...

class RuleSet(_message.Message):
    __slots__ = ("text", "rules", "trees", "fidelity", "table_bytes", "in_front_of_network", "answered", "accuracy_drop", "accuracy_drop_upper")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    TREES_FIELD_NUMBER: _ClassVar[int]
    FIDELITY_FIELD_NUMBER: _ClassVar[int]
    TABLE_BYTES_FIELD_NUMBER: _ClassVar[int]
    IN_FRONT_OF_NETWORK_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_FIELD_NUMBER: _ClassVar[int]
    ACCURACY_DROP_FIELD_NUMBER: _ClassVar[int]
    ACCURACY_DROP_UPPER_FIELD_NUMBER: _ClassVar[int]
    text: str
    rules: int
    trees: int
    fidelity: float
    table_bytes: int
    in_front_of_network: bool
    answered: float
    accuracy_drop: float
    accuracy_drop_upper: float
    def __init__(self, text: _Optional[str] = ..., rules: _Optional[int] = ..., trees: _Optional[int] = ..., fidelity: _Optional[float] = ..., table_bytes: _Optional[int] = ..., in_front_of_network: bool = ..., answered: _Optional[float] = ..., accuracy_drop: _Optional[float] = ..., accuracy_drop_upper: _Optional[float] = ...) -> None: ...

class Lineage(_message.Message):
    __slots__ = ("job_id", "candidate", "recipe_json", "teacher_sha256", "student_sha256", "parent_model_sha256", "versions", "cpu_model", "threads", "network_sha256", "made_on")
    class VersionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    RECIPE_JSON_FIELD_NUMBER: _ClassVar[int]
    TEACHER_SHA256_FIELD_NUMBER: _ClassVar[int]
    STUDENT_SHA256_FIELD_NUMBER: _ClassVar[int]
    PARENT_MODEL_SHA256_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    CPU_MODEL_FIELD_NUMBER: _ClassVar[int]
    THREADS_FIELD_NUMBER: _ClassVar[int]
    NETWORK_SHA256_FIELD_NUMBER: _ClassVar[int]
    MADE_ON_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    candidate: str
    recipe_json: str
    teacher_sha256: bytes
    student_sha256: bytes
    parent_model_sha256: bytes
    versions: _containers.ScalarMap[str, str]
    cpu_model: str
    threads: int
    network_sha256: bytes
    made_on: _containers.RepeatedCompositeFieldContainer[MadeOn]
    def __init__(self, job_id: _Optional[str] = ..., candidate: _Optional[str] = ..., recipe_json: _Optional[str] = ..., teacher_sha256: _Optional[bytes] = ..., student_sha256: _Optional[bytes] = ..., parent_model_sha256: _Optional[bytes] = ..., versions: _Optional[_Mapping[str, str]] = ..., cpu_model: _Optional[str] = ..., threads: _Optional[int] = ..., network_sha256: _Optional[bytes] = ..., made_on: _Optional[_Iterable[_Union[MadeOn, _Mapping]]] = ...) -> None: ...

class MadeOn(_message.Message):
    __slots__ = ("stage", "versions", "cpu_model", "threads")
    class VersionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    STAGE_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    CPU_MODEL_FIELD_NUMBER: _ClassVar[int]
    THREADS_FIELD_NUMBER: _ClassVar[int]
    stage: str
    versions: _containers.ScalarMap[str, str]
    cpu_model: str
    threads: int
    def __init__(self, stage: _Optional[str] = ..., versions: _Optional[_Mapping[str, str]] = ..., cpu_model: _Optional[str] = ..., threads: _Optional[int] = ...) -> None: ...

class Measurement(_message.Message):
    __slots__ = ("device_class", "engine_path", "latency_p50_us", "latency_p95_us", "runs", "peak_ram_bytes", "on_control_plane", "operator_p50_us")
    DEVICE_CLASS_FIELD_NUMBER: _ClassVar[int]
    ENGINE_PATH_FIELD_NUMBER: _ClassVar[int]
    LATENCY_P50_US_FIELD_NUMBER: _ClassVar[int]
    LATENCY_P95_US_FIELD_NUMBER: _ClassVar[int]
    RUNS_FIELD_NUMBER: _ClassVar[int]
    PEAK_RAM_BYTES_FIELD_NUMBER: _ClassVar[int]
    ON_CONTROL_PLANE_FIELD_NUMBER: _ClassVar[int]
    OPERATOR_P50_US_FIELD_NUMBER: _ClassVar[int]
    device_class: str
    engine_path: str
    latency_p50_us: float
    latency_p95_us: float
    runs: int
    peak_ram_bytes: int
    on_control_plane: bool
    operator_p50_us: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, device_class: _Optional[str] = ..., engine_path: _Optional[str] = ..., latency_p50_us: _Optional[float] = ..., latency_p95_us: _Optional[float] = ..., runs: _Optional[int] = ..., peak_ram_bytes: _Optional[int] = ..., on_control_plane: bool = ..., operator_p50_us: _Optional[_Iterable[float]] = ...) -> None: ...

class Certificate(_message.Message):
    __slots__ = ("samples", "correct", "teacher_correct", "only_model_correct", "only_teacher_correct", "accuracy_drop_upper_95", "split_sha256", "model_bytes", "worst_class", "corrupted", "data_sha256", "splits", "seed", "lineage", "peak_ram_bytes", "measurements")
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    CORRECT_FIELD_NUMBER: _ClassVar[int]
    TEACHER_CORRECT_FIELD_NUMBER: _ClassVar[int]
    ONLY_MODEL_CORRECT_FIELD_NUMBER: _ClassVar[int]
    ONLY_TEACHER_CORRECT_FIELD_NUMBER: _ClassVar[int]
    ACCURACY_DROP_UPPER_95_FIELD_NUMBER: _ClassVar[int]
    SPLIT_SHA256_FIELD_NUMBER: _ClassVar[int]
    MODEL_BYTES_FIELD_NUMBER: _ClassVar[int]
    WORST_CLASS_FIELD_NUMBER: _ClassVar[int]
    CORRUPTED_FIELD_NUMBER: _ClassVar[int]
    DATA_SHA256_FIELD_NUMBER: _ClassVar[int]
    SPLITS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    LINEAGE_FIELD_NUMBER: _ClassVar[int]
    PEAK_RAM_BYTES_FIELD_NUMBER: _ClassVar[int]
    MEASUREMENTS_FIELD_NUMBER: _ClassVar[int]
    samples: int
    correct: int
    teacher_correct: int
    only_model_correct: int
    only_teacher_correct: int
    accuracy_drop_upper_95: float
    split_sha256: bytes
    model_bytes: int
    worst_class: WorstClass
    corrupted: Corrupted
    data_sha256: bytes
    splits: _containers.RepeatedCompositeFieldContainer[SplitDigest]
    seed: int
    lineage: Lineage
    peak_ram_bytes: int
    measurements: _containers.RepeatedCompositeFieldContainer[Measurement]
    def __init__(self, samples: _Optional[int] = ..., correct: _Optional[int] = ..., teacher_correct: _Optional[int] = ..., only_model_correct: _Optional[int] = ..., only_teacher_correct: _Optional[int] = ..., accuracy_drop_upper_95: _Optional[float] = ..., split_sha256: _Optional[bytes] = ..., model_bytes: _Optional[int] = ..., worst_class: _Optional[_Union[WorstClass, _Mapping]] = ..., corrupted: _Optional[_Union[Corrupted, _Mapping]] = ..., data_sha256: _Optional[bytes] = ..., splits: _Optional[_Iterable[_Union[SplitDigest, _Mapping]]] = ..., seed: _Optional[int] = ..., lineage: _Optional[_Union[Lineage, _Mapping]] = ..., peak_ram_bytes: _Optional[int] = ..., measurements: _Optional[_Iterable[_Union[Measurement, _Mapping]]] = ...) -> None: ...

class SplitDigest(_message.Message):
    __slots__ = ("name", "sha256", "samples")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    name: str
    sha256: bytes
    samples: int
    def __init__(self, name: _Optional[str] = ..., sha256: _Optional[bytes] = ..., samples: _Optional[int] = ...) -> None: ...

class PairedCounts(_message.Message):
    __slots__ = ("samples", "correct", "teacher_correct", "only_model_correct", "only_teacher_correct")
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    CORRECT_FIELD_NUMBER: _ClassVar[int]
    TEACHER_CORRECT_FIELD_NUMBER: _ClassVar[int]
    ONLY_MODEL_CORRECT_FIELD_NUMBER: _ClassVar[int]
    ONLY_TEACHER_CORRECT_FIELD_NUMBER: _ClassVar[int]
    samples: int
    correct: int
    teacher_correct: int
    only_model_correct: int
    only_teacher_correct: int
    def __init__(self, samples: _Optional[int] = ..., correct: _Optional[int] = ..., teacher_correct: _Optional[int] = ..., only_model_correct: _Optional[int] = ..., only_teacher_correct: _Optional[int] = ...) -> None: ...

class WorstClass(_message.Message):
    __slots__ = ("label", "counts", "accuracy_drop_upper_95")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    ACCURACY_DROP_UPPER_95_FIELD_NUMBER: _ClassVar[int]
    label: str
    counts: PairedCounts
    accuracy_drop_upper_95: float
    def __init__(self, label: _Optional[str] = ..., counts: _Optional[_Union[PairedCounts, _Mapping]] = ..., accuracy_drop_upper_95: _Optional[float] = ...) -> None: ...

class Corrupted(_message.Message):
    __slots__ = ("corruption", "seed", "counts", "accuracy_drop_upper_95")
    CORRUPTION_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    ACCURACY_DROP_UPPER_95_FIELD_NUMBER: _ClassVar[int]
    corruption: str
    seed: int
    counts: PairedCounts
    accuracy_drop_upper_95: float
    def __init__(self, corruption: _Optional[str] = ..., seed: _Optional[int] = ..., counts: _Optional[_Union[PairedCounts, _Mapping]] = ..., accuracy_drop_upper_95: _Optional[float] = ...) -> None: ...
