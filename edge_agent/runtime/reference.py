"""The numpy engine: runs a graph operator by operator with `reference_ops.py` and so defines what a model computes.

Every compiled path gives the same bytes. It is also what runs where nothing was compiled: slower, with numpy in memory.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_agent.errors import InputError
from edge_agent.runtime import graph as g
from edge_agent.runtime import reference_ops as ops
from edge_agent.runtime.tensors import decode_tensors

_CHUNK_ELEMENTS = 1 << 21  # of the largest activation, so that a large batch does not need the memory of all at once

BytesLike = bytes | bytearray | memoryview


class ReferenceEngine:
    """`engine.Engine` in numpy; holds only constants, so that any thread may call it."""

    path = "reference"

    def __init__(self, graph: g.Graph, payloads: Sequence[bytes]) -> None:
        self.graph = graph
        self._tensors = decode_tensors(graph, payloads)
        self._last_reader = {index: n for n, op in enumerate(graph.operators) for index in op.inputs}
        self.arena_bytes = sum(activation.elements for activation in graph.activations)
        self.weight_bytes = sum(tensor.nbytes for tensor in self._tensors)

    def infer_raw(self, x: BytesLike) -> bytes:
        return self._single(x, raw=True)

    def infer_float(self, x: BytesLike) -> bytes:
        return self._single(x, raw=False)

    def infer_batch(self, x: BytesLike, *, raw: bool) -> bytes:
        samples = self._samples(x, raw)
        largest = max(activation.elements for activation in self.graph.activations)
        chunk = max(1, _CHUNK_ELEMENTS // largest)
        outputs = [self._run(samples[i : i + chunk], raw) for i in range(0, len(samples), chunk)]
        return b"".join(outputs)

    def trace(self, x: BytesLike, *, raw: bool) -> list[bytes]:
        outputs: list[bytes] = []
        self._run(self._one(x, raw), raw, on_output=lambda array: outputs.append(array.tobytes()))
        return outputs

    def profile(self, x: BytesLike, *, raw: bool) -> list[int]:
        laps = [time.perf_counter_ns()]

        def lap(_: ops.Int8) -> None:
            laps.append(time.perf_counter_ns())

        self._run(self._one(x, raw), raw, on_output=lap, on_input=lap)
        return [end - begun for begun, end in itertools.pairwise(laps)]

    def dequantize(self, q: BytesLike) -> bytes:
        output = self.graph.output_activation
        values = np.frombuffer(q, dtype=np.int8).astype(np.float32) - np.float32(output.zero_point)
        return (values * np.float32(output.scale)).astype("<f4").tobytes()

    def _single(self, x: BytesLike, *, raw: bool) -> bytes:
        return self._run(self._one(x, raw), raw)

    def _one(self, x: BytesLike, raw: bool) -> npt.NDArray[Any]:
        samples = self._samples(x, raw)
        if len(samples) != 1:
            raise InputError(f"the input holds {len(samples)} samples instead of 1")
        return samples

    def _samples(self, x: BytesLike, raw: bool) -> npt.NDArray[Any]:
        if raw and self.graph.input.raw_table is None:
            raise InputError("the model does not accept raw uint8; send normalised float32")
        shape = self.graph.input_activation.shape
        data = memoryview(x).cast("B")
        sample_bytes = self.graph.input_activation.elements * (1 if raw else 4)
        if data.nbytes % sample_bytes:
            raise InputError(f"the input has {data.nbytes} bytes, not a multiple of {sample_bytes}")
        return np.frombuffer(data, dtype=np.uint8 if raw else "<f4").reshape(-1, *shape)

    def _run(
        self,
        samples: npt.NDArray[Any],
        raw: bool,
        on_output: Callable[[ops.Int8], None] | None = None,
        on_input: Callable[[ops.Int8], None] | None = None,
    ) -> bytes:
        source = self.graph.input
        values: dict[int, ops.Int8] = {source.activation: self._quantize(samples, raw)}
        if on_input is not None:
            on_input(values[source.activation])
        for position, operator in enumerate(self.graph.operators):
            result = self._apply(operator, [values[index] for index in operator.inputs], len(samples))
            values[operator.output] = result
            if on_output is not None:
                on_output(result)
            for index in operator.inputs:
                if self._last_reader[index] == position and index != self.graph.output.activation:
                    values.pop(index, None)
        return values[self.graph.output.activation].tobytes()

    def _quantize(self, samples: npt.NDArray[Any], raw: bool) -> ops.Int8:
        source = self.graph.input
        if raw:
            assert source.raw_table is not None
            return ops.quantize_raw(samples, self._tensors[source.raw_table])
        affine = self._tensors[source.channel_affine] if source.channel_affine is not None else None
        return ops.quantize_float(samples, source.multiplier, affine, self.graph.input_activation.zero_point)

    def _apply(self, operator: g.Operator, xs: list[ops.Int8], batch: int) -> ops.Int8:
        grids = [self.graph.activations[index] for index in operator.inputs]
        y = self.graph.activations[operator.output]
        tensors = self._tensors
        match operator.kind:
            case g.Conv2D() as conv:
                return ops.conv2d(xs[0], conv, tensors, grids[0], y)
            case g.Linear() as linear:
                return ops.linear(xs[0], linear, tensors, grids[0], y)
            case g.Add() as add:
                return ops.add(xs[0], xs[1], add, tensors, grids, y)
            case g.Concat() as concat:
                return ops.concat(xs, concat, tensors, grids, y)
            case g.MaxPool() as pool:
                return ops.max_pool(xs[0], pool, y)
            case g.AveragePool() as pool:
                return ops.average_pool(xs[0], pool, tensors, grids[0], y)
            case g.Flatten():
                return xs[0].reshape(len(xs[0]), -1)
            case g.Clamp() as clamp:
                return np.clip(xs[0], clamp.qmin, clamp.qmax)
            case g.Table() as table:
                lookup: ops.Int8 = tensors[table.table][xs[0].astype(np.int16) + 128]
                return lookup
            case g.Softmax() as softmax:
                return ops.softmax(xs[0], tensors[softmax.table])
            case g.Reshape():
                return xs[0].reshape(batch, *y.shape)
            case g.Permute() as permute:
                return xs[0].transpose(0, *(axis + 1 for axis in permute.axes))
            case g.MatMul() as product:
                return ops.matmul(xs[0], xs[1], product, tensors, grids, y)
            case g.LayerNorm() as norm:
                return ops.layer_norm(xs[0], norm, tensors, grids[0], y)
            case g.Multiply() as multiply:
                return ops.multiply(xs[0], xs[1], multiply, tensors, grids, y)
            case g.Constant() as constant:
                return np.broadcast_to(tensors[constant.value], (batch, *y.shape))
            case g.RuleTable() as rules:
                return ops.rule_table(xs[0], rules, tensors, y)
            case g.Select() as select:
                return ops.select(xs[0], xs[1], xs[2], select)
