"""Decodes tensor payloads and checks what depends on their values: ranges and accumulator bounds.

Imports numpy lazily: the compiled engine does the same work in `csrc/tensors.cc`, and an agent that uses it never loads
numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from edge_agent.errors import ModelFormatError
from edge_agent.runtime import graph as g
from edge_agent.runtime import limits
from edge_agent.runtime.blocks import decode_blocks
from edge_agent.runtime.digest import BlobReader

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[Any]

_DTYPES = {g.DType.INT8: "<i1", g.DType.INT32: "<i4", g.DType.UINT32: "<u4", g.DType.FLOAT32: "<f4"}


def fetch_payloads(graph: g.Graph, blobs: Callable[[bytes], bytes]) -> list[bytes]:
    """The payload of every tensor in stored order; raises `DigestMismatchError` where `blobs` gives other bytes."""
    reader = BlobReader(blobs)
    return [
        tensor.data
        if isinstance(tensor.data, bytes)
        else reader.read(tensor.data.sha256, tensor.data.size_bytes, what=partial("tensor {!r}".format, tensor.name))
        for tensor in graph.tensors
    ]


def decode_tensors(graph: g.Graph, payloads: Sequence[bytes]) -> list[Array]:
    """Every tensor as an array of its shape; raises `ModelFormatError` where a value is not allowed."""
    arrays = [_decode(tensor, payload) for tensor, payload in zip(graph.tensors, payloads, strict=True)]
    if graph.input.channel_affine is not None:
        _check_channel_affine(arrays[graph.input.channel_affine])
    for operator in graph.operators:
        _check_operator_values(graph, operator, arrays)
    return arrays


def _decode(tensor: g.Tensor, payload: bytes) -> Array:
    import numpy as np

    if len(payload) != tensor.payload_bytes:
        raise ModelFormatError(f"tensor {tensor.name!r} needs {tensor.payload_bytes} bytes, not {len(payload)}")
    if tensor.is_block_sparse:
        return decode_blocks(tensor, payload)
    if tensor.bits == 0:
        return np.frombuffer(payload, dtype=_DTYPES[tensor.dtype]).reshape(tensor.shape)
    return unpack(np.frombuffer(payload, dtype=np.uint8), tensor.shape, tensor.bits, tensor.name)


def unpack(packed: npt.NDArray[np.uint8], shape: tuple[int, ...], bits: int, name: str) -> npt.NDArray[np.int8]:
    """Integers of `bits` bits, least significant bit first, each outermost row padded to a byte with zeros."""
    import numpy as np

    rows = shape[0]
    per_row = int(np.prod(shape[1:], dtype=np.int64))
    stream = np.unpackbits(packed.reshape(rows, -1), axis=1, bitorder="little")
    if stream[:, per_row * bits :].any():
        raise ModelFormatError(f"tensor {name!r}: a bit between two rows is set")
    fields = stream[:, : per_row * bits].reshape(rows, per_row, bits)
    weights = np.array([1 << bit for bit in range(bits - 1)] + [-(1 << (bits - 1))], dtype=np.int8)
    return (fields.astype(np.int8) @ weights).astype(np.int8).reshape(shape)


def _check_operator_values(graph: g.Graph, operator: g.Operator, arrays: Sequence[Array]) -> None:
    where = f"operator {operator.name!r}"
    kind = operator.kind
    match kind:
        case g.Conv2D() | g.Linear():
            _check_requantize(kind.requantize, arrays, where)
            bias = arrays[kind.bias] if kind.bias is not None else None
            x = graph.activations[operator.inputs[0]]
            _check_weight(arrays[kind.weight], graph.tensors[kind.weight].bits, bias, x, where)
        case g.LayerNorm():
            _check_requantize(kind.requantize, arrays, where)
            _check_norm(arrays[kind.gain], arrays[kind.bias] if kind.bias is not None else None, where)
        case g.Add() | g.AveragePool() | g.MatMul() | g.Multiply():
            _check_requantize(kind.requantize, arrays, where)
        case g.Concat():
            for form in kind.requantize:
                _check_requantize(form, arrays, where)
        case g.Softmax():
            if arrays[kind.table][0] == 0:
                raise ModelFormatError(f"{where}: the largest value's exponential is 0")
        case g.RuleTable():
            _check_requantize(kind.requantize, arrays, where)
            _check_rule_nodes(arrays[kind.nodes], kind.trees, graph.activations[operator.inputs[0]].elements, where)


def _check_weight(weight: Array, bits: int, bias: Array | None, x: g.Activation, where: str) -> None:
    import numpy as np

    if bits == 0 and (weight == -128).any():
        raise ModelFormatError(f"{where}: a dense weight is -128")
    flat = weight.reshape(weight.shape[0], -1)
    largest = np.abs(flat, dtype=np.int16).sum(axis=1, dtype=np.int64) * x.max_magnitude
    if bias is not None:
        largest = largest + np.abs(bias.astype(np.int64))
    _require_fits(largest, where)


def _check_norm(gain: Array, bias: Array | None, where: str) -> None:
    import numpy as np

    largest = np.abs(gain.astype(np.int64)) * limits.NORM_LARGEST
    if bias is not None:
        largest = largest + np.abs(bias.astype(np.int64))
    _require_fits(largest, where)


def _require_fits(largest: Array, where: str) -> None:
    """`largest`: the bound of each channel's accumulator."""
    too_large = largest >= limits.ACCUMULATOR
    if too_large.any():
        raise ModelFormatError(f"{where}: the accumulator of channel {int(too_large.argmax())} can overflow")


def _check_requantize(form: g.Requantize, arrays: Sequence[Array], where: str) -> None:
    values = arrays[form.tensor]
    what, low, high = "multiplier", limits.MULTIPLIER_MIN, limits.MULTIPLIER_MAX
    if form.is_shift:
        what, low, high = "shift", limits.SHIFT_MIN, limits.SHIFT_MAX
    if not ((values >= low) & (values <= high)).all():  # NaN fails both
        raise ModelFormatError(f"{where}: a {what} is not within [{low}, {high}]")


def _check_channel_affine(affine: Array) -> None:
    import numpy as np

    offsets, multipliers = affine
    low, high = limits.INPUT_MULTIPLIER_MIN, limits.INPUT_MULTIPLIER_MAX
    if not (np.isfinite(offsets).all() and ((multipliers >= low) & (multipliers <= high)).all()):
        raise ModelFormatError(f"an input offset is not finite, or a multiplier not within [{low}, {high}]")


def _check_rule_nodes(nodes: npt.NDArray[np.uint32], trees: int, features: int, where: str) -> None:
    """The first level is the roots; each other one has two nodes for every condition before it; none is left over."""
    is_condition = nodes >> 24 == 1
    if not (is_condition | (nodes == 0)).all():
        raise ModelFormatError(f"{where}: a node is neither a condition nor a leaf")
    if ((nodes & 0xFFFF)[is_condition] >= features).any():
        raise ModelFormatError(f"{where}: a condition reads a feature that is not there")
    begin, end, depth = 0, trees, 0
    while conditions := int(is_condition[begin:end].sum()):
        begin, end, depth = end, end + 2 * conditions, depth + 1
        if end > len(nodes):
            raise ModelFormatError(f"{where}: a condition's nodes are not there")
        if depth > limits.RULE_DEPTH:
            raise ModelFormatError(f"{where}: a rule has more than {limits.RULE_DEPTH} conditions")
    if end != len(nodes):
        raise ModelFormatError(f"{where}: no condition leads to a node")
