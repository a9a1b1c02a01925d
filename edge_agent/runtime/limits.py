"""The numbers of docs/format.md, section 2; `csrc/format_limits.h` holds the same ones for the C++ reader.

They bound what a hostile file can make a reader allocate or compute; honest models for small devices stay far below.
"""

from __future__ import annotations

FORMAT_VERSION = 1

MODEL_BYTES = 8 << 20
ACTIVATIONS = 4096
OPERATORS = 4096
TENSORS = 16384
LABELS = 65536
OPERATOR_INPUTS = 1024
TENSOR_RANK = 4
NAME_BYTES = 256
MODEL_NAME_BYTES = 128

ACTIVATION_ELEMENTS = 1 << 24
ALL_ACTIVATION_ELEMENTS = 1 << 26
TENSOR_ELEMENTS = 1 << 26
ALL_PAYLOAD_BYTES = 1 << 28
INLINE_BYTES = 4096
WINDOW = 65535  # kernel, stride and pad, each
WORK = 1 << 36

GOLDEN_BYTES = 64 << 20
GOLDEN_CASES = 1024

ACCUMULATOR = 1 << 30  # every accumulator's magnitude stays below
SHIFT_LEFT_CLAMP = 1 << 22
SHIFT_MIN, SHIFT_MAX = -8, 30
MULTIPLIER_MIN, MULTIPLIER_MAX = 2.0**-40, 2.0**8
INPUT_MULTIPLIER_MIN, INPUT_MULTIPLIER_MAX = 2.0**-40, 2.0**40
SCALE_MIN = 2.0**-126
NORM_CHANNELS = 1 << 14
NORM_EPSILON = 1 << 44
NORM_ONE = 1 << 14  # a standard deviation, before gain and bias
NORM_LARGEST = 1 << 21  # NORM_ONE * sqrt(NORM_CHANNELS): no normalised value is larger
RULE_NODES, RULE_TREES, RULE_FEATURES = 1 << 12, 1 << 8, 1 << 16
RULE_DEPTH = 64  # conditions between a root and a leaf

# Elements of repeated fields, checked before protobuf builds an object for each.
REPEATED = {
    "espalier.model.v1.Model.activations": ACTIVATIONS,
    "espalier.model.v1.Model.tensors": TENSORS,
    "espalier.model.v1.Model.operators": OPERATORS,
    "espalier.model.v1.Activation.shape": TENSOR_RANK,
    "espalier.model.v1.Tensor.shape": TENSOR_RANK,
    "espalier.model.v1.Output.labels": LABELS,
    "espalier.model.v1.Operator.inputs": OPERATOR_INPUTS,
    "espalier.model.v1.Concat.requantize": OPERATOR_INPUTS,
    "espalier.model.v1.Permute.axes": 3,
    "espalier.model.v1.GoldenVectors.cases": GOLDEN_CASES,
    "espalier.model.v1.GoldenCase.operator_sha256": OPERATORS,
}
REPEATED_ELSEWHERE = 1024
