"""Reads model bytes into a `Graph`: canonical form, then each message's own fields, then how they fit together.

What needs the tensors' values (ranges, accumulator bounds) is checked by `tensors.py` once the payloads are there.
"""

from __future__ import annotations

import math
import re

from edge_agent.errors import ModelFormatError
from edge_agent.runtime import graph as g
from edge_agent.runtime import limits
from edge_agent.runtime.validate import check_graph
from edge_agent.runtime.wire import check_canonical
from protos import model_pb2 as pb

_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z", re.ASCII)
_PACKED_BITS = (2, 3, 4, 6)
_BLOCK_ROWS = (4, 8, 16)


def parse_model(data: bytes) -> g.Graph:
    """Read and validate a model; raises `ModelFormatError` for anything that docs/format.md does not allow."""
    if len(data) > limits.MODEL_BYTES:
        raise ModelFormatError(f"the model has {len(data)} bytes, more than {limits.MODEL_BYTES}")
    data = bytes(data)
    check_canonical(data, pb.Model.DESCRIPTOR)
    message = pb.Model.FromString(data)
    if message.format_version != limits.FORMAT_VERSION:
        raise ModelFormatError(f"format version {message.format_version} is not {limits.FORMAT_VERSION}")
    if len(message.name) > limits.MODEL_NAME_BYTES or not _MODEL_NAME.match(message.name):
        raise ModelFormatError(f"{message.name[:64]!r} is no model name: letters, digits, '.', '_', '-', at most 128")
    _require(message, "input", "output")
    tensors = tuple(_tensor(tensor) for tensor in message.tensors)
    graph = g.Graph(
        name=message.name,
        input=g.Input(
            activation=message.input.activation,
            raw_table=message.input.raw_table if message.input.HasField("raw_table") else None,
            multiplier=message.input.multiplier,
            channel_affine=message.input.channel_affine if message.input.HasField("channel_affine") else None,
        ),
        output=g.Output(message.output.activation, tuple(_name(label, "a label") for label in message.output.labels)),
        activations=tuple(_activation(activation) for activation in message.activations),
        tensors=tensors,
        operators=tuple(_operator(operator, tensors) for operator in message.operators),
        golden=_blob(message.golden, limits.GOLDEN_BYTES) if message.HasField("golden") else None,
    )
    check_graph(graph)
    return graph


def _require(message: pb.Model | pb.Operator | pb.Conv2D | pb.MaxPool | pb.AveragePool, *fields: str) -> None:
    for field in fields:
        if not message.HasField(field):
            raise ModelFormatError(f"{message.DESCRIPTOR.name} has no {field}")


def _name(text: str, what: str) -> str:
    if len(text.encode()) > limits.NAME_BYTES:
        raise ModelFormatError(f"{what} has more than {limits.NAME_BYTES} bytes")
    return text


def _blob(message: pb.BlobRef, largest: int) -> g.BlobRef:
    if len(message.sha256) != 32:
        raise ModelFormatError(f"a blob is named by {len(message.sha256)} bytes instead of 32")
    if not 0 < message.size_bytes <= largest:
        raise ModelFormatError(f"a blob of {message.size_bytes} bytes is not within 1 and {largest}")
    return g.BlobRef(message.sha256, message.size_bytes)


def _activation(message: pb.Activation) -> g.Activation:
    name, shape = _name(message.name, "an activation's name"), tuple(message.shape)
    if message.dtype != pb.INT8:
        raise ModelFormatError(f"activation {name!r} is not INT8")
    if len(shape) not in (1, 3) or 0 in shape or math.prod(shape) > limits.ACTIVATION_ELEMENTS:
        raise ModelFormatError(f"activation {name!r} cannot have the shape {shape}")
    if not (math.isfinite(message.scale) and message.scale >= limits.SCALE_MIN):
        raise ModelFormatError(f"activation {name!r} cannot have the scale {message.scale}")
    if not -128 <= message.zero_point <= 127:
        raise ModelFormatError(f"activation {name!r} cannot have the zero point {message.zero_point}")
    return g.Activation(name, shape, message.scale, message.zero_point)


def _tensor(message: pb.Tensor) -> g.Tensor:
    name, shape = _name(message.name, "a tensor's name"), tuple(message.shape)
    if message.dtype not in (pb.INT8, pb.INT32, pb.UINT32, pb.FLOAT32):
        raise ModelFormatError(f"tensor {name!r} has the dtype {message.dtype}, which version 1 does not use")
    if not 1 <= len(shape) <= limits.TENSOR_RANK or 0 in shape or math.prod(shape) > limits.TENSOR_ELEMENTS:
        raise ModelFormatError(f"tensor {name!r} cannot have the shape {shape}")
    _check_encoding(message, name, shape)
    data: g.BlobRef | bytes
    match message.WhichOneof("data"):
        case "blob":
            data = _blob(message.blob, limits.ALL_PAYLOAD_BYTES)
            size_bytes = data.size_bytes
        case "inline":
            data, size_bytes = message.inline, len(message.inline)
            if size_bytes > limits.INLINE_BYTES:
                raise ModelFormatError(f"tensor {name!r} has more than {limits.INLINE_BYTES} bytes inline")
        case _:
            raise ModelFormatError(f"tensor {name!r} has no data")
    tensor = g.Tensor(name, g.DType(message.dtype), shape, message.bits, data, message.block_rows, message.blocks)
    if size_bytes != tensor.payload_bytes:
        raise ModelFormatError(f"tensor {name!r} needs {tensor.payload_bytes} bytes, not {size_bytes}")
    return tensor


def _check_encoding(message: pb.Tensor, name: str, shape: tuple[int, ...]) -> None:
    if message.encoding != pb.BLOCK_SPARSE and (message.block_rows != 0 or message.blocks != 0):
        raise ModelFormatError(f"tensor {name!r} has blocks but is not block-sparse")
    match message.encoding:
        case pb.DENSE:
            if message.bits != 0:
                raise ModelFormatError(f"tensor {name!r} is dense and has {message.bits} bits")
        case pb.PACKED:
            if message.dtype != pb.INT8 or message.bits not in _PACKED_BITS:
                raise ModelFormatError(f"tensor {name!r}: {message.bits}-bit packing is unknown")
        case pb.BLOCK_SPARSE:
            if message.dtype != pb.INT8 or len(shape) < 2 or message.bits not in (0, *_PACKED_BITS):
                raise ModelFormatError(
                    f"tensor {name!r} cannot be block-sparse: int8 weights of 2, 3, 4, 6 or 8 bits can"
                )
            if message.block_rows not in _BLOCK_ROWS:
                raise ModelFormatError(f"tensor {name!r}: blocks have 4, 8 or 16 rows, not {message.block_rows}")
        case _:
            raise ModelFormatError(f"tensor {name!r} is neither dense nor packed nor block-sparse")


def _operator(message: pb.Operator, tensors: tuple[g.Tensor, ...]) -> g.Operator:
    kind = message.WhichOneof("kind")
    if not message.name or kind is None:
        raise ModelFormatError("an operator has no name or no kind")
    name = _name(message.name, "an operator's name")
    return g.Operator(name, tuple(message.inputs), message.output, _kind(message, kind, tensors))


def _kind(message: pb.Operator, kind: str, tensors: tuple[g.Tensor, ...]) -> g.Kind:
    match kind:
        case "conv2d":
            return _conv2d(message.conv2d, tensors)
        case "linear":
            linear = message.linear
            bias = linear.bias if linear.HasField("bias") else None
            return g.Linear(linear.weight, bias, _requantize(linear))
        case "add":
            return g.Add(message.add.multiplier_a, message.add.multiplier_b, _requantize(message.add))
        case "concat":
            return g.Concat(tuple(_requantize_form(form) for form in message.concat.requantize))
        case "max_pool":
            return g.MaxPool(_pool_window(message.max_pool))
        case "average_pool":
            pool = message.average_pool
            return g.AveragePool(_pool_window(pool), pool.reciprocal, _requantize(pool))
        case "flatten":
            return g.Flatten()
        case "clamp":
            return g.Clamp(message.clamp.qmin, message.clamp.qmax)
        case "table":
            return g.Table(message.table.table)
        case "softmax":
            return g.Softmax(message.softmax.table)
        case "reshape":
            return g.Reshape()
        case "permute":
            return _permute(message.permute)
        case "matmul":
            product = message.matmul
            layout = (product.a_stacked, product.b_stacked, product.b_transposed, product.output_stacked)
            return g.MatMul(product.heads, *layout, _requantize(product))
        case "layer_norm":
            norm = message.layer_norm
            bias = norm.bias if norm.HasField("bias") else None
            return g.LayerNorm(norm.gain, bias, norm.epsilon, _requantize(norm))
        case "multiply":
            return g.Multiply(_requantize(message.multiply))
        case "constant":
            return g.Constant(message.constant.value)
        case "rule_table":
            rules = message.rule_table
            return g.RuleTable(rules.nodes, rules.scores, rules.trees, _requantize(rules))
        case "select":
            return g.Select(message.select.threshold)
        case _:
            raise ModelFormatError(f"operator {message.name!r} is of the unknown kind {kind}")


def _conv2d(message: pb.Conv2D, tensors: tuple[g.Tensor, ...]) -> g.Conv2D:
    _require(message, "padding")
    if message.weight >= len(tensors) or len(tensors[message.weight].shape) != 4:
        raise ModelFormatError("a convolution's weight is not a tensor [out, kernel_h, kernel_w, in / groups]")
    _, kernel_h, kernel_w, _ = tensors[message.weight].shape
    window = g.Window(kernel_h, kernel_w, message.stride_h, message.stride_w, _padding(message.padding))
    bias = message.bias if message.HasField("bias") else None
    return g.Conv2D(message.weight, bias, window, message.groups, _requantize(message))


def _permute(message: pb.Permute) -> g.Permute:
    if sorted(message.axes) != [0, 1, 2]:
        raise ModelFormatError(f"{list(message.axes)} is no order of three axes")
    return g.Permute((message.axes[0], message.axes[1], message.axes[2]))


def _pool_window(message: pb.MaxPool | pb.AveragePool) -> g.Window:
    _require(message, "padding")
    padding = _padding(message.padding)
    return g.Window(message.kernel_h, message.kernel_w, message.stride_h, message.stride_w, padding)


def _padding(message: pb.Padding) -> g.Padding:
    return g.Padding(message.top, message.bottom, message.left, message.right)


def _requantize(
    message: pb.Conv2D | pb.Linear | pb.Add | pb.AveragePool | pb.MatMul | pb.LayerNorm | pb.Multiply | pb.RuleTable,
) -> g.Requantize:
    if not message.HasField("requantize"):
        raise ModelFormatError(f"{message.DESCRIPTOR.name} has no requantize")
    return _requantize_form(message.requantize)


def _requantize_form(message: pb.Requantize) -> g.Requantize:
    form = message.WhichOneof("form")
    if form is None:
        raise ModelFormatError("a requantize has neither multiplier nor shift")
    is_shift = form == "shift"
    return g.Requantize(is_shift, message.shift if is_shift else message.multiplier, message.qmin, message.qmax)
