"""A parsed model as frozen data: what `model.parse_model` returns and the engines are built from.

Field meanings are those of docs/format.md; indices refer to `Graph.activations` and `Graph.tensors`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum


class DType(Enum):
    """Element type of a tensor; the value is its number in model.proto."""

    INT8 = 1
    INT32 = 4
    UINT32 = 5
    FLOAT32 = 6

    @property
    def size_bytes(self) -> int:
        return 1 if self is DType.INT8 else 4


@dataclass(frozen=True, slots=True)
class BlobRef:
    sha256: bytes
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Activation:
    """int8 feature map: `scale * (q - zero_point)`; `shape` is [height, width, channels] or [features]."""

    name: str
    shape: tuple[int, ...]
    scale: float
    zero_point: int

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def channels(self) -> int:
        return self.shape[-1]

    @property
    def max_magnitude(self) -> int:
        """The largest |q - zero_point| over all of int8."""
        return max(127 - self.zero_point, self.zero_point + 128)


@dataclass(frozen=True, slots=True)
class Tensor:
    """A constant. `bits` is 0 where dense, else 2, 3, 4 or 6; `data` is the payload itself or where it is kept."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    bits: int
    data: BlobRef | bytes

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def payload_bytes(self) -> int:
        if self.bits == 0:
            return self.elements * self.dtype.size_bytes
        row = math.prod(self.shape[1:])
        return self.shape[0] * ((row * self.bits + 7) // 8)


@dataclass(frozen=True, slots=True)
class Requantize:
    """`tensor` holds multipliers (float32), or shifts (int8) where `is_shift`."""

    is_shift: bool
    tensor: int
    qmin: int
    qmax: int


@dataclass(frozen=True, slots=True)
class Padding:
    top: int
    bottom: int
    left: int
    right: int


@dataclass(frozen=True, slots=True)
class Window:
    """The sliding window that convolutions and pools share."""

    kernel_h: int
    kernel_w: int
    stride_h: int
    stride_w: int
    padding: Padding

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the output; less than 1 where the window does not fit."""
        pad = self.padding
        return (
            (height + pad.top + pad.bottom - self.kernel_h) // self.stride_h + 1,
            (width + pad.left + pad.right - self.kernel_w) // self.stride_w + 1,
        )


@dataclass(frozen=True, slots=True)
class Conv2D:
    weight: int
    bias: int | None
    window: Window
    groups: int
    requantize: Requantize


@dataclass(frozen=True, slots=True)
class Linear:
    weight: int
    bias: int | None
    requantize: Requantize


@dataclass(frozen=True, slots=True)
class Add:
    multiplier_a: int
    multiplier_b: int
    requantize: Requantize


@dataclass(frozen=True, slots=True)
class Concat:
    requantize: tuple[Requantize, ...]


@dataclass(frozen=True, slots=True)
class MaxPool:
    window: Window


@dataclass(frozen=True, slots=True)
class AveragePool:
    window: Window
    reciprocal: int
    requantize: Requantize


@dataclass(frozen=True, slots=True)
class Flatten:
    pass


@dataclass(frozen=True, slots=True)
class Clamp:
    qmin: int
    qmax: int


@dataclass(frozen=True, slots=True)
class Table:
    table: int


@dataclass(frozen=True, slots=True)
class Softmax:
    table: int


@dataclass(frozen=True, slots=True)
class Reshape:
    pass


@dataclass(frozen=True, slots=True)
class Permute:
    axes: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class MatMul:
    heads: int
    a_stacked: bool
    b_stacked: bool
    b_transposed: bool
    output_stacked: bool
    requantize: Requantize

    def matrix(self, shape: tuple[int, ...], is_stacked: bool) -> tuple[int, int] | None:
        """Rows and columns of each head's matrix in an activation of rank 3; None where the heads do not fit."""
        if is_stacked:
            return (shape[1], shape[2]) if shape[0] == self.heads else None
        return (shape[0] * shape[1], shape[2] // self.heads) if shape[2] % self.heads == 0 else None


@dataclass(frozen=True, slots=True)
class LayerNorm:
    gain: int
    bias: int | None
    epsilon: int
    requantize: Requantize


@dataclass(frozen=True, slots=True)
class Multiply:
    requantize: Requantize


@dataclass(frozen=True, slots=True)
class Constant:
    value: int


Kind = (
    Conv2D
    | Linear
    | Add
    | Concat
    | MaxPool
    | AveragePool
    | Flatten
    | Clamp
    | Table
    | Softmax
    | Reshape
    | Permute
    | MatMul
    | LayerNorm
    | Multiply
    | Constant
)


@dataclass(frozen=True, slots=True)
class Operator:
    name: str
    inputs: tuple[int, ...]
    output: int
    kind: Kind


@dataclass(frozen=True, slots=True)
class Input:
    activation: int
    raw_table: int | None
    multiplier: float


@dataclass(frozen=True, slots=True)
class Output:
    activation: int
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Graph:
    name: str
    input: Input
    output: Output
    activations: tuple[Activation, ...]
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    golden: BlobRef | None

    @property
    def input_activation(self) -> Activation:
        return self.activations[self.input.activation]

    @property
    def output_activation(self) -> Activation:
        return self.activations[self.output.activation]

    @property
    def tensor_blobs(self) -> tuple[BlobRef, ...]:
        """Every blob the tensors refer to, once each, in order of first use."""
        return tuple(dict.fromkeys(tensor.data for tensor in self.tensors if isinstance(tensor.data, BlobRef)))
