"""Takes an ONNX file apart: nodes, attributes and weights as plain data, each size checked before it is believed.

Nothing in a file is executed and no other file is opened: external data, functions, subgraphs and custom domains are
refused. What a node means is not decided here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.onnx.errors import OnnxError, OnnxMissingError

MAX_FILE_BYTES = 512 << 20
MAX_NODES = 10_000
MAX_RANK = 8
OPSETS = range(7, 27)
DOMAINS = ("", "ai.onnx")

Array = npt.NDArray[Any]
Attribute = int | float | str | tuple[int, ...] | tuple[float, ...] | Array

_ELEMENT_TYPES = {
    1: "<f4",
    2: "|u1",
    3: "|i1",
    6: "<i4",
    7: "<i8",
    9: "|b1",
    10: "<f2",
    11: "<f8",
}  # TensorProto.DataType


@dataclass(frozen=True)
class OnnxNode:
    """One operation; optional inputs that were left out are empty names."""

    name: str
    operation: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]

    def refuse(self, reason: str) -> OnnxError:
        return OnnxError(f"node {self.name!r} ({self.operation}): {reason}")


@dataclass(frozen=True)
class OnnxGraph:
    """A feed-forward graph with one input and one output, in an order in which values are made before they are read."""

    opset: int
    input: str
    input_shape: tuple[int | None, ...]  # None where the file leaves a size open
    output: str
    nodes: tuple[OnnxNode, ...]
    constants: Mapping[str, Array] = field(repr=False)


def read_onnx(data: bytes) -> OnnxGraph:
    """The graph of an ONNX file.

    Raises:
        OnnxError: it is malformed, too large, of another version, or refers to something outside of itself.
        OnnxMissingError: the `onnx` package is not installed.
    """
    if len(data) > MAX_FILE_BYTES:
        raise OnnxError(f"the ONNX file has {len(data)} bytes, more than {MAX_FILE_BYTES}")
    model = _parse(data)
    opset = _opset(model)
    if len(model.functions) or not model.HasField("graph"):
        raise OnnxError("the ONNX file has functions of its own, or no graph; export plain operators")
    if len(model.graph.node) > MAX_NODES:
        raise OnnxError(f"the ONNX graph has {len(model.graph.node)} nodes, more than {MAX_NODES}")
    if len(model.graph.sparse_initializer):
        raise OnnxError("the ONNX file has sparse weights; store them densely")
    constants = {tensor.name: read_tensor(tensor) for tensor in model.graph.initializer}
    if len(constants) != len(model.graph.initializer):
        raise OnnxError("two weights of the ONNX file have one name")
    inputs = [value for value in model.graph.input if value.name not in constants]
    if len(inputs) != 1 or len(model.graph.output) != 1:
        raise OnnxError(
            f"the ONNX graph has {len(inputs)} inputs and {len(model.graph.output)} outputs; a network has one of each"
        )
    nodes = tuple(_read_node(node, index) for index, node in enumerate(model.graph.node))
    _require_order(nodes, {inputs[0].name, *constants}, model.graph.output[0].name)
    shape = tuple(dim.dim_value or None for dim in inputs[0].type.tensor_type.shape.dim)
    if len(shape) > MAX_RANK or any(size is not None and size < 0 for size in shape):
        raise OnnxError(f"the ONNX graph's input has the impossible shape {list(shape)}")
    return OnnxGraph(opset, inputs[0].name, shape, model.graph.output[0].name, nodes, constants)


def read_tensor(tensor: Any) -> Array:
    """A weight as an array in native byte order; its bytes must be in the file and be as many as its shape says."""
    name = f"weight {tensor.name!r}"
    if tensor.data_location != 0 or len(tensor.external_data):
        raise OnnxError(f"{name} is kept in another file; save the network with its weights inside")
    if tensor.data_type not in _ELEMENT_TYPES:
        raise OnnxError(f"{name} has element type {tensor.data_type}, which is not supported")
    if len(tensor.dims) > MAX_RANK or any(size < 0 for size in tensor.dims):
        raise OnnxError(f"{name} has the impossible shape {list(tensor.dims)}")
    dtype, elements = np.dtype(_ELEMENT_TYPES[tensor.data_type]), math.prod(tensor.dims)
    if tensor.HasField("raw_data"):
        held = len(tensor.raw_data)
        if held != elements * dtype.itemsize:
            raise OnnxError(
                f"{name} holds {held} bytes, not the {elements * dtype.itemsize} of shape {list(tensor.dims)}"
            )
        flat = np.frombuffer(tensor.raw_data, dtype)
    else:
        values = _typed_data(tensor)
        if len(values) != elements:
            raise OnnxError(f"{name} holds {len(values)} values, not the {elements} of shape {list(tensor.dims)}")
        flat = _from_typed(values, dtype, name)
    return flat.astype(dtype.newbyteorder("=")).reshape(tuple(tensor.dims))


def _parse(data: bytes) -> Any:
    try:
        import onnx
    except ImportError as error:
        raise OnnxMissingError("onnx") from error
    from google.protobuf.message import DecodeError

    try:
        return onnx.ModelProto.FromString(data)
    except (DecodeError, ValueError) as error:
        raise OnnxError("the bytes are no ONNX file") from error


def _opset(model: Any) -> int:
    versions = {entry.domain: entry.version for entry in model.opset_import}
    foreign = [domain for domain in versions if domain not in DOMAINS]
    used = {node.domain for node in model.graph.node}
    if any(domain in used for domain in foreign) or not used <= {*DOMAINS, *foreign}:
        raise OnnxError(
            f"the ONNX file uses operators of {', '.join(sorted(used - set(DOMAINS)))}; only ONNX's own are known"
        )
    version: int | None = next((versions[domain] for domain in DOMAINS if domain in versions), None)
    if version not in OPSETS:
        raise OnnxError(f"the ONNX file is of operator set {version}; {OPSETS.start} to {OPSETS.stop - 1} are known")
    assert version is not None
    return version


def _read_node(node: Any, index: int) -> OnnxNode:
    name = node.name or f"{node.op_type}_{index}"
    read = OnnxNode(name, node.op_type, tuple(node.input), tuple(node.output), {})
    attributes = {attribute.name: _read_attribute(read, attribute) for attribute in node.attribute}
    return OnnxNode(name, node.op_type, read.inputs, read.outputs, attributes)


def _read_attribute(node: OnnxNode, attribute: Any) -> Attribute:
    match attribute.type:  # AttributeProto.AttributeType
        case 1:
            return float(attribute.f)
        case 2:
            return int(attribute.i)
        case 3:
            return bytes(attribute.s).decode(errors="replace")
        case 4:
            return read_tensor(attribute.t)
        case 6:
            return tuple(float(value) for value in attribute.floats)
        case 7:
            return tuple(int(value) for value in attribute.ints)
        case _:
            raise node.refuse(f"attribute {attribute.name!r} is a graph or of a type that is not supported")


def _typed_data(tensor: Any) -> Any:
    if tensor.data_type == 1:
        return tensor.float_data
    if tensor.data_type == 11:
        return tensor.double_data
    return tensor.int64_data if tensor.data_type == 7 else tensor.int32_data


def _from_typed(values: Iterable[Any], dtype: np.dtype[Any], name: str) -> Array:
    if dtype.kind == "f" and dtype.itemsize == 2:  # the bits of each number, in an int32
        bits = np.array(values, np.int64)
        if ((bits < 0) | (bits > 0xFFFF)).any():
            raise OnnxError(f"{name} holds what is no 16-bit number")
        return bits.astype("<u2").view("<f2")
    try:
        return np.array(values, dtype)
    except OverflowError as error:
        raise OnnxError(f"{name} holds a number that its type has no room for") from error


def _require_order(nodes: tuple[OnnxNode, ...], known: set[str], output: str) -> None:
    for node in nodes:
        for name in node.inputs:
            if name and name not in known:
                raise node.refuse(f"reads {name!r}, which nothing before it makes")
        for name in node.outputs:
            if name and name in known:
                raise node.refuse(f"makes {name!r} a second time")
            known.add(name)
    if output not in known:
        raise OnnxError(f"nothing makes the output {output!r}")
