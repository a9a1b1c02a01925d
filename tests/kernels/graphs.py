"""Builds small valid models operator by operator.

Weights and scales are random, and multipliers are chosen so that outputs neither vanish nor all saturate.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field

import numpy as np

from protos import model_pb2 as pb
from tests.kernels.payloads import keep_blocks, pack, pack_blocks

INPUT, OUTPUT_SOFTMAX_SCALE = 0, 1 / 256


@dataclass
class BuiltModel:
    """Stored bytes and the blobs they refer to."""

    data: bytes
    blobs: dict[bytes, bytes]

    def message(self) -> pb.Model:
        return pb.Model.FromString(self.data)


@dataclass
class GraphBuilder:
    """Adds operators one by one; each method takes and returns activation indices."""

    rng: np.random.Generator
    inline_limit: int = 4096
    fused_clamps: bool = True
    block_rows: int = 0  # of the weights of convolutions and linears from here on; 0 for dense ones
    block_density: float = 1.0
    model: pb.Model = field(default_factory=lambda: pb.Model(format_version=1, name="random"))
    blobs: dict[bytes, bytes] = field(default_factory=dict)

    # Parts

    def activation(self, shape: tuple[int, ...], scale: float | None = None, zero_point: int | None = None) -> int:
        scale = float(self.rng.uniform(0.01, 0.2)) if scale is None else scale
        zero_point = self.random_zero_point() if zero_point is None else zero_point
        name = f"a{len(self.model.activations)}"
        self.model.activations.add(name=name, dtype=pb.INT8, shape=shape, scale=scale, zero_point=zero_point)
        return len(self.model.activations) - 1

    def random_zero_point(self) -> int:
        return int(self.rng.choice([-128, 0, 127, int(self.rng.integers(-128, 128))]))

    def tensor(self, array: np.ndarray, bits: int = 0) -> int:
        dtype = {"int8": pb.INT8, "int32": pb.INT32, "uint32": pb.UINT32, "float32": pb.FLOAT32}[array.dtype.name]
        payload = pack(array, bits) if bits else array.astype(array.dtype.newbyteorder("<")).tobytes()
        message = self.model.tensors.add(name=f"t{len(self.model.tensors)}", dtype=dtype, shape=array.shape, bits=bits)
        message.encoding = pb.PACKED if bits else pb.DENSE
        return self._store(message, payload)

    def sparse_tensor(self, array: np.ndarray, block_rows: int, bits: int = 0) -> int:
        """Weights whose zero blocks of `block_rows` x 4 are left out."""
        payload, blocks = pack_blocks(array, block_rows, bits)
        message = self.model.tensors.add(
            name=f"t{len(self.model.tensors)}", dtype=pb.INT8, shape=array.shape, bits=bits
        )
        message.encoding, message.block_rows, message.blocks = pb.BLOCK_SPARSE, block_rows, blocks
        return self._store(message, payload)

    def _store(self, message: pb.Tensor, payload: bytes) -> int:
        if len(payload) <= self.inline_limit:
            message.inline = payload
        else:
            message.blob.sha256, message.blob.size_bytes = hashlib.sha256(payload).digest(), len(payload)
            self.blobs[message.blob.sha256] = payload
        return len(self.model.tensors) - 1

    def operator(self, inputs: list[int], output: int, **kind: object) -> int:
        self.model.operators.add(name=f"op{len(self.model.operators)}", inputs=inputs, output=output, **kind)
        return output

    def shape(self, index: int) -> tuple[int, ...]:
        return tuple(self.model.activations[index].shape)

    def requantize(self, spread: float, channels: int, *, by_shift: bool) -> pb.Requantize:
        """Brings accumulators of standard deviation `spread` to about 40 steps; sometimes with a fused clamp."""
        qmin, qmax = -128, 127
        if self.fused_clamps and self.rng.random() < 0.3:
            qmin, qmax = sorted(int(q) for q in self.rng.integers(-128, 128, 2))
        ratio = 40 / max(spread, 1e-3) * self.rng.uniform(0.5, 2.0, channels)
        if by_shift:
            shift = np.clip(np.round(-np.log2(ratio)), -8, 30).astype(np.int8)
            return pb.Requantize(shift=self.tensor(shift), qmin=qmin, qmax=qmax)
        multiplier = np.clip(ratio, 2.0**-40, 2.0**8).astype(np.float32)
        return pb.Requantize(multiplier=self.tensor(multiplier), qmin=qmin, qmax=qmax)

    def _per_channel_or_tensor(self, channels: int) -> int:
        return channels if self.rng.random() < 0.7 else 1

    def _coin(self) -> bool:
        return bool(self.rng.random() < 0.5)

    def weight(self, shape: tuple[int, ...], bits: int) -> tuple[int, float]:
        """A random weight tensor and the spread of its values."""
        high = 127 if bits == 8 else 2 ** (bits - 1) - 1
        low = -127 if bits == 8 else -(2 ** (bits - 1))
        values = self.rng.integers(low, high, shape, endpoint=True).astype(np.int8)
        packed_bits, spread = 0 if bits == 8 else bits, (high - low) / 3.5
        if self.block_rows == 0:
            return self.tensor(values, packed_bits), spread
        values = keep_blocks(values, self.block_rows, self.block_density, self.rng)
        return self.sparse_tensor(values, self.block_rows, packed_bits), spread * math.sqrt(
            max(self.block_density, 0.05)
        )

    # Operators

    def conv2d(
        self,
        x: int,
        channels_out: int,
        kernel: tuple[int, int],
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int, int, int] = (0, 0, 0, 0),
        groups: int = 1,
        bits: int = 8,
        by_shift: bool = False,
        bias: bool = True,
    ) -> int:
        height, width, channels_in = self.shape(x)
        shape = (channels_out, *kernel, channels_in // groups)
        weight, spread = self.weight(shape, bits)
        spread *= 100 * math.sqrt(math.prod(shape[1:]))
        conv = pb.Conv2D(weight=weight, stride_h=stride[0], stride_w=stride[1], groups=groups)
        conv.padding.CopyFrom(make_padding(padding))
        if bias:
            conv.bias = self.tensor(self.rng.normal(0, spread, channels_out).astype(np.int32))
        form = self.requantize(spread, self._per_channel_or_tensor(channels_out), by_shift=by_shift)
        conv.requantize.CopyFrom(form)
        size = window_output((height, width), kernel, stride, padding)
        return self.operator([x], self.activation((*size, channels_out)), conv2d=conv)

    def linear(self, x: int, features: int, bits: int = 8, by_shift: bool = False, bias: bool = True) -> int:
        (features_in,) = self.shape(x)
        weight, spread = self.weight((features, features_in), bits)
        spread *= 100 * math.sqrt(features_in)
        linear = pb.Linear(weight=weight)
        if bias:
            linear.bias = self.tensor(self.rng.normal(0, spread, features).astype(np.int32))
        form = self.requantize(spread, self._per_channel_or_tensor(features), by_shift=by_shift)
        linear.requantize.CopyFrom(form)
        return self.operator([x], self.activation((features,)), linear=linear)

    def add(self, a: int, b: int, by_shift: bool = False) -> int:
        multipliers = [int(m) for m in self.rng.integers(-(1 << 20), 1 << 20, 2)]
        form = self.requantize(100 * (1 << 20), 1, by_shift=by_shift)
        add = pb.Add(multiplier_a=multipliers[0], multiplier_b=multipliers[1], requantize=form)
        return self.operator([a, b], self.activation(self.shape(a)), add=add)

    def concat(self, xs: list[int], by_shift: bool = False) -> int:
        forms = [self.requantize(60, 1, by_shift=by_shift) for _ in xs]
        shape = (*self.shape(xs[0])[:-1], sum(self.shape(x)[-1] for x in xs))
        return self.operator(xs, self.activation(shape), concat=pb.Concat(requantize=forms))

    def max_pool(
        self,
        x: int,
        kernel: tuple[int, int],
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    ) -> int:
        height, width, channels = self.shape(x)
        pool = pb.MaxPool(kernel_h=kernel[0], kernel_w=kernel[1], stride_h=stride[0], stride_w=stride[1])
        pool.padding.CopyFrom(make_padding(padding))
        size = window_output((height, width), kernel, stride, padding)
        return self.operator([x], self._same_grid(x, (*size, channels)), max_pool=pool)

    def average_pool(
        self,
        x: int,
        kernel: tuple[int, int],
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int, int, int] = (0, 0, 0, 0),
        by_shift: bool = False,
    ) -> int:
        height, width, channels = self.shape(x)
        elements = kernel[0] * kernel[1]
        reciprocal = round(2**12 / elements) if by_shift else 0
        spread = 60 * math.sqrt(elements) * max(reciprocal, 1)
        pool = pb.AveragePool(
            kernel_h=kernel[0], kernel_w=kernel[1], stride_h=stride[0], stride_w=stride[1], reciprocal=reciprocal
        )
        pool.padding.CopyFrom(make_padding(padding))
        pool.requantize.CopyFrom(self.requantize(spread, 1, by_shift=by_shift))
        size = window_output((height, width), kernel, stride, padding)
        return self.operator([x], self.activation((*size, channels)), average_pool=pool)

    def flatten(self, x: int) -> int:
        return self.operator([x], self._same_grid(x, (math.prod(self.shape(x)),)), flatten=pb.Flatten())

    def clamp(self, x: int) -> int:
        qmin, qmax = sorted(int(q) for q in self.rng.integers(-128, 128, 2))
        return self.operator([x], self._same_grid(x, self.shape(x)), clamp=pb.Clamp(qmin=qmin, qmax=qmax))

    def table(self, x: int) -> int:
        table = self.tensor(self.rng.integers(-128, 128, 256).astype(np.int8))
        return self.operator([x], self.activation(self.shape(x)), table=pb.Table(table=table))

    def softmax(self, x: int) -> int:
        scale = self.rng.uniform(0.01, 0.3)
        exponentials = np.floor(np.exp(-scale * np.arange(256)) * (2**32 - 1)).astype(np.uint32)
        output = self.activation(self.shape(x), OUTPUT_SOFTMAX_SCALE, -128)
        return self.operator([x], output, softmax=pb.Softmax(table=self.tensor(exponentials)))

    def rule_table(self, x: int, classes: int, conditions: int, trees: int = 1, by_shift: bool = False) -> int:
        nodes = random_rule_nodes(self.rng, self.shape(x)[0], conditions, trees)
        scores = self.rng.integers(-128, 128, (trees + conditions, classes)).astype(np.int8)
        form = self.requantize(74 * math.sqrt(trees), self._per_channel_or_tensor(classes), by_shift=by_shift)
        rules = pb.RuleTable(nodes=self.tensor(nodes), scores=self.tensor(scores), trees=trees, requantize=form)
        return self.operator([x], self.activation((classes,)), rule_table=rules)

    def select(self, gate: int, confident: int, otherwise: int) -> int:
        select = pb.Select(threshold=int(self.rng.integers(-128, 128)))
        y = self._same_grid(confident, self.shape(confident))
        return self.operator([gate, confident, otherwise], y, select=select)

    def reshape(self, x: int, shape: tuple[int, ...]) -> int:
        return self.operator([x], self._same_grid(x, shape), reshape=pb.Reshape())

    def permute(self, x: int, axes: tuple[int, int, int]) -> int:
        shape = tuple(self.shape(x)[axis] for axis in axes)
        return self.operator([x], self._same_grid(x, shape), permute=pb.Permute(axes=axes))

    def matmul(
        self,
        a: int,
        b: int,
        heads: int = 1,
        *,
        stacked: tuple[bool, bool, bool] = (False, False, False),
        b_transposed: bool = False,
        by_shift: bool = False,
    ) -> int:
        """`stacked`: a, b and the output."""
        rows, inner = self._matrix(a, heads, stacked[0])
        b_matrix = self._matrix(b, heads, stacked[1])
        assert b_matrix[b_transposed] == inner
        columns = b_matrix[not b_transposed]
        form = self.requantize(100 * 100 * math.sqrt(inner), 1, by_shift=by_shift)
        product = pb.MatMul(
            heads=heads, a_stacked=stacked[0], b_stacked=stacked[1], b_transposed=b_transposed, requantize=form
        )
        product.output_stacked = stacked[2]
        shape = (heads, rows, columns) if stacked[2] else (1, rows, heads * columns)
        return self.operator([a, b], self.activation(shape), matmul=product)

    def _matrix(self, x: int, heads: int, is_stacked: bool) -> tuple[int, int]:
        height, width, channels = self.shape(x)
        return (width, channels) if is_stacked else (height * width, channels // heads)

    def layer_norm(self, x: int, by_shift: bool = False, bias: bool = True) -> int:
        channels = self.shape(x)[-1]
        gain = self.rng.integers(-128, 128, channels).astype(np.int8)
        spread = 64 * 2.0**14
        norm = pb.LayerNorm(gain=self.tensor(gain), epsilon=int(2 ** self.rng.uniform(0, 44)))
        if self._coin():
            norm.epsilon = int(self.rng.integers(1, 1000))
        if bias:
            norm.bias = self.tensor(self.rng.normal(0, spread, channels).astype(np.int32))
        norm.requantize.CopyFrom(self.requantize(spread, self._per_channel_or_tensor(channels), by_shift=by_shift))
        return self.operator([x], self.activation(self.shape(x)), layer_norm=norm)

    def multiply(self, a: int, b: int, by_shift: bool = False) -> int:
        multiply = pb.Multiply(requantize=self.requantize(100 * 100, 1, by_shift=by_shift))
        return self.operator([a, b], self.activation(self.shape(a)), multiply=multiply)

    def constant(self, shape: tuple[int, ...]) -> int:
        value = self.tensor(self.rng.integers(-128, 128, shape).astype(np.int8))
        return self.operator([], self.activation(shape), constant=pb.Constant(value=value))

    def attention(self, x: int, heads: int, by_shift: bool = False) -> int:
        """Queries, keys and values by pointwise convolutions, scores, softmax, their mix of the values."""
        channels = self.shape(x)[2]
        query, key, value = (self.conv2d(x, channels, (1, 1), by_shift=by_shift) for _ in range(3))
        many = heads > 1
        scores = self.matmul(query, key, heads, stacked=(False, False, many), b_transposed=True, by_shift=by_shift)
        return self.matmul(self.softmax(scores), value, heads, stacked=(many, False, False), by_shift=by_shift)

    def _same_grid(self, x: int, shape: tuple[int, ...]) -> int:
        source = self.model.activations[x]
        return self.activation(shape, source.scale, source.zero_point)

    # Ends

    def input(self, shape: tuple[int, ...], *, raw: bool = True, affine: bool = False) -> int:
        index = self.activation(shape)
        source = self.model.activations[index]
        self.model.input.activation = index
        self.model.input.multiplier = 1 / source.scale
        if affine:
            channels = shape[-1]
            multipliers = self.rng.uniform(0.5, 2, channels) / source.scale
            affine = np.stack([self.rng.normal(0, 20 * source.scale, channels), multipliers]).astype(np.float32)
            self.model.input.channel_affine, self.model.input.multiplier = self.tensor(affine), 1
        if raw:
            rows = shape[-1] if self._coin() else 1
            self.model.input.raw_table = self.tensor(self.rng.integers(-128, 128, (rows, 256)).astype(np.int8))
        return index

    def finish(self, output: int) -> BuiltModel:
        self.model.output.activation = output
        return BuiltModel(self.model.SerializeToString(deterministic=True), self.blobs)


def make_padding(padding: tuple[int, int, int, int]) -> pb.Padding:
    top, bottom, left, right = padding
    return pb.Padding(top=top, bottom=bottom, left=left, right=right)


def random_rule_nodes(rng: np.random.Generator, features: int, conditions: int, trees: int) -> np.ndarray:
    """uint32 [nodes]: grows a random forest condition by condition and writes it level by level."""
    children: dict[int, tuple[int, int]] = {}
    leaves, count = list(range(trees)), trees
    for _ in range(conditions):
        leaf = leaves.pop(int(rng.integers(len(leaves))))
        children[leaf] = (count, count + 1)
        leaves += children[leaf]
        count += 2
    words, queue = [], list(range(trees))
    for node in queue:  # grows while it is read
        queue += children.get(node, ())
        condition = int(rng.integers(features)) | int(rng.integers(256)) << 16 | 1 << 24
        words.append(condition if node in children else 0)
    return np.array(words, dtype=np.uint32)


def window_output(
    size: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int, int, int]
) -> tuple[int, int]:
    top, bottom, left, right = padding
    return (
        (size[0] + top + bottom - kernel[0]) // stride[0] + 1,
        (size[1] + left + right - kernel[1]) // stride[1] + 1,
    )
