"""A parsed model as frozen data: what `model.parse_model` returns and the engines are built from.

Field meanings are those of docs/format.md; indices refer to `Graph.activations` and `Graph.tensors`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

BLOCK_COLUMNS = 4  # elements of one row of a block: input channels of one tap


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
    """A constant; `data` is the payload itself or where it is kept.

    `bits` is 0 for whole elements, else 2, 3, 4 or 6. `block_rows` is 0 unless the tensor is block-sparse: then the
    payload holds `blocks` blocks of `block_rows` outermost rows by `BLOCK_COLUMNS` elements of one run.
    """

    name: str
    dtype: DType
    shape: tuple[int, ...]
    bits: int
    data: BlobRef | bytes
    block_rows: int = 0
    blocks: int = 0

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def is_block_sparse(self) -> bool:
        return self.block_rows != 0

    @property
    def rows_of_blocks(self) -> int:
        return -(-self.shape[0] // self.block_rows)

    @property
    def blocks_per_row(self) -> int:
        """Positions in a row of blocks: the runs of the last axis one after the other, each in whole blocks."""
        return math.prod(self.shape[1:-1]) * -(-self.shape[-1] // BLOCK_COLUMNS)

    @property
    def index_bytes(self) -> int:
        """Of the bits that say which blocks are stored; each row of blocks starts at a byte."""
        return self.rows_of_blocks * -(-self.blocks_per_row // 8)

    @property
    def block_bytes(self) -> int:
        return self.block_rows * BLOCK_COLUMNS * (self.bits or 8) // 8

    @property
    def counted_bytes(self) -> int:
        """What it adds to the limit of all payloads: a sparse tensor as if every block were stored in int8."""
        if not self.is_block_sparse:
            return self.payload_bytes
        return self.index_bytes + self.rows_of_blocks * self.blocks_per_row * self.block_rows * BLOCK_COLUMNS

    @property
    def payload_bytes(self) -> int:
        if self.is_block_sparse:
            return self.index_bytes + self.blocks * self.block_bytes
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


@dataclass(frozen=True, slots=True)
class RuleTable:
    nodes: int
    scores: int
    trees: int
    requantize: Requantize


@dataclass(frozen=True, slots=True)
class Select:
    threshold: int


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
    | RuleTable
    | Select
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
    channel_affine: int | None = None


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
