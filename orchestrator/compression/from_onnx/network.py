"""Builds a torch module out of an ONNX graph: one step for each node, weights as parameters of ordinary torch layers.

So an imported network trains, is pruned and is captured like one written by hand. Batch norm stays a layer of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from orchestrator.compression.from_onnx.operators import OPERATORS
from orchestrator.compression.from_onnx.shapes import SHAPE_OPERATORS
from orchestrator.onnx.errors import OnnxError
from orchestrator.onnx.reader import MAX_FILE_BYTES, Array, OnnxGraph, OnnxNode, read_onnx

MAX_FEATURE_MAP_ELEMENTS = 1 << 26
"""Of one sample; a file of a few bytes can ask for any size."""

_SAMPLES = (2, 3)
"""Numbers of samples for which shapes are compared."""

_NODE_ERRORS = (RuntimeError, ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, MemoryError)
"""What torch and numpy raise for shapes, axes and numbers that make no sense together."""


def load_network(source: bytes | Path | str) -> OnnxNetwork:
    """The network in an ONNX file, in evaluation mode.

    Raises:
        OnnxError: the file is malformed or holds what is not supported; the message names the node.
        OnnxMissingError: the `onnx` package is not installed.
    """
    if not isinstance(source, bytes):
        path = Path(source)
        try:
            with path.open("rb") as file:
                source = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise OnnxError(f"{path} cannot be read: {error.strerror}") from error
    return OnnxNetwork(read_onnx(source)).eval()


@dataclass(frozen=True)
class _Step:
    node: OnnxNode
    compute: Callable[..., Any]
    layer: str = ""  # its name in `layers`


class OnnxNetwork(nn.Module):
    """Takes [N, ...] as the file says, without a fixed batch; `input_shape` leaves the batch out, where it is known."""

    def __init__(self, graph: OnnxGraph) -> None:
        super().__init__()
        self.input, self.output = graph.input, graph.output
        sizes = graph.input_shape[1:]
        self.input_shape = tuple(size for size in sizes if size is not None) if None not in sizes else None
        self.layers = nn.ModuleDict()
        self._arrays: dict[str, Array] = dict(graph.constants)
        self._buffer_names: dict[str, str] = {}
        with np.errstate(all="ignore"):  # weights that are not finite are found by who captures or trains
            steps = [self._try_step(graph, node) for node in _with_biases(graph)]
        self._steps = [step for step in steps if step is not None]
        for step in self._steps:
            for name in step.node.inputs:
                self._keep_constant(name)
        if self.input_shape:
            self._check_samples(self.input_shape)

    def forward(self, x: Tensor) -> Tensor:
        return self._run(x, lambda name, value: None)

    def _run(self, x: Tensor, look: Callable[[str, Any], None]) -> Tensor:
        values: dict[str, Any] = {name: array for name, array in self._arrays.items() if array.dtype.kind in "iub"}
        values |= {name: getattr(self, buffer) for name, buffer in self._buffer_names.items()}
        values[self.input] = x
        for step in self._steps:
            try:
                inputs = [values.get(name) for name in step.node.inputs]
                value = step.compute(self.layers[step.layer], *inputs) if step.layer else step.compute(*inputs)
                parts = value if isinstance(value, tuple) else (value,)
                for name, part in zip(step.node.outputs, parts, strict=True):
                    look(name, part)
                    if name:  # what is left out of a node's inputs has no name either
                        values[name] = part
            except _NODE_ERRORS as error:
                raise step.node.refuse(_first_line(error)) from error
        result = values[self.output]
        if not isinstance(result, Tensor):
            raise OnnxError("the ONNX graph's output does not depend on its input")
        return result

    def _try_step(self, graph: OnnxGraph, node: OnnxNode) -> _Step | None:
        try:
            return self._make_step(graph, node)
        except _NODE_ERRORS as error:
            raise node.refuse(_first_line(error)) from error

    def _make_step(self, graph: OnnxGraph, node: OnnxNode) -> _Step | None:
        """None where the node's output is a constant, which is then computed here."""
        known = [self._arrays.get(name) for name in node.inputs]
        is_constant = all(array is not None or not name for array, name in zip(known, node.inputs, strict=True))
        if is_constant and node.operation in SHAPE_OPERATORS:
            self._arrays[node.outputs[0]] = SHAPE_OPERATORS[node.operation](node, *known)
            return None
        if node.operation not in OPERATORS:
            raise node.refuse(f"is not supported; known are {', '.join(sorted(OPERATORS))}")
        outputs = node.outputs if node.operation == "Split" else node.outputs[:1]
        if any(name and (name == graph.output or _is_read(graph, name)) for name in node.outputs[len(outputs) :]):
            raise node.refuse("only its first output may be used")
        made = OPERATORS[node.operation](node, known, graph.opset)
        read = OnnxNode(node.name, node.operation, made.inputs, outputs, {})
        compute = _placed(node, made.compute)
        if made.layer is None:
            return _Step(read, compute)
        name = self._layer_name(node.name)
        self.layers[name] = made.layer
        return _Step(read, compute, name)

    def _layer_name(self, name: str) -> str:
        name = re.sub(r"\W", "_", name.strip("/")) or "layer"
        while name in self.layers:
            name += "_"
        return name

    def _keep_constant(self, name: str) -> None:
        array = self._arrays.get(name)
        if array is not None and array.dtype.kind == "f" and name not in self._buffer_names:
            buffer = f"constant_{len(self._buffer_names)}"
            self.register_buffer(buffer, torch.from_numpy(np.array(array, np.float32)))
            self._buffer_names[name] = buffer

    def _check_samples(self, shape: tuple[int, ...]) -> None:
        """Refuse a node that mixes samples or drops some; theirs is the axis whose size follows their number."""
        few, many = (self._shapes(samples, shape) for samples in _SAMPLES)
        of_samples = {self.input}
        for step in self._steps:
            for name in step.node.outputs:
                sizes = list(zip(few.get(name, ()), many.get(name, ()), strict=True))
                differing = [pair for pair in sizes if pair[0] != pair[1]]
                if not differing and (of_samples.isdisjoint(step.node.inputs) or name not in few):
                    continue
                if differing != [_SAMPLES]:
                    raise step.node.refuse("does not keep samples apart")
                if name == self.output and sizes[0] != _SAMPLES:
                    raise step.node.refuse("makes the output, but samples are not its first axis")
                of_samples.add(name)

    def _shapes(self, samples: int, shape: tuple[int, ...]) -> dict[str, torch.Size]:
        """Of every feature map, without memory for them."""
        shapes: dict[str, torch.Size] = {}

        def look(name: str, value: Any) -> None:
            if not isinstance(value, Tensor):
                return
            shapes[name] = value.shape
            elements = value.numel() // samples
            if elements > MAX_FEATURE_MAP_ELEMENTS:
                raise ValueError(f"makes {elements} elements of a sample, more than {MAX_FEATURE_MAP_ELEMENTS}")

        with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
            self.eval()._run(torch.empty(samples, *shape), look)
        return shapes


def _placed(node: OnnxNode, compute: Callable[..., Any]) -> Callable[..., Any]:
    """`compute` in a frame named after the node: by frames of `forward` a capture says where operations come from."""

    def call(*values: Any) -> Any:
        return compute(*values)

    place = f"ONNX node {node.name!r} ({node.operation})".replace('"', "'")
    call.__code__ = call.__code__.replace(co_filename=place, co_name="forward", co_firstlineno=0)
    return call


def _with_biases(graph: OnnxGraph) -> tuple[OnnxNode, ...]:
    """A matrix product and the addition of a constant row after it are one linear layer."""
    nodes = {node.outputs[0]: node for node in graph.nodes if node.outputs}
    for node in graph.nodes:
        if node.operation != "Add" or len(node.inputs) != 2:
            continue
        for value, constant in (node.inputs, node.inputs[::-1]):
            product, bias = nodes.get(value), graph.constants.get(constant)
            readers = sum(other.inputs.count(value) for other in graph.nodes)
            if product is None or product.operation != "MatMul" or bias is None or bias.ndim != 1 or readers != 1:
                continue
            weight = graph.constants.get(product.inputs[1])
            if weight is not None and weight.ndim == 2 and len(bias) == weight.shape[1] and value != graph.output:
                inputs = (*product.inputs, constant)
                nodes[node.outputs[0]] = OnnxNode(product.name, "Gemm", inputs, node.outputs, {})
                del nodes[value]
                break
    return tuple(nodes.values())


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _is_read(graph: OnnxGraph, name: str) -> bool:
    return any(name in node.inputs for node in graph.nodes)
