"""Small real models for tests: made from model.proto directly, with golden vectors from the reference."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field

import numpy as np

from edge_agent.life import ModelRef
from edge_agent.runtime import load_model, make_golden
from protos import model_pb2 as pb


@dataclass
class BuiltModel:
    data: bytes
    blobs: dict[str, bytes]
    """Tensors and golden vectors by digest."""
    golden_digest: str = ""

    @property
    def ref(self) -> ModelRef:
        return ModelRef(digest=hashlib.sha256(self.data).hexdigest(), size_bytes=len(self.data))

    @property
    def files(self) -> dict[str, bytes]:
        return {self.ref.digest: self.data, **self.blobs}


@dataclass
class Builder:
    """Adds one operator after the other; activations are int8 around zero."""

    rng: np.random.Generator
    model: pb.Model = field(default_factory=lambda: pb.Model(format_version=1))
    blobs: dict[str, bytes] = field(default_factory=dict)

    def activation(self, shape: tuple[int, ...], scale: float = 0.1, zero_point: int = 0) -> int:
        self.model.activations.add(
            name=f"a{len(self.model.activations)}", dtype=pb.INT8, shape=shape, scale=scale, zero_point=zero_point
        )
        return len(self.model.activations) - 1

    def tensor(self, values: np.ndarray, dtype: pb.DType, *, inline: bool = False) -> int:
        payload = values.tobytes()
        tensor = self.model.tensors.add(
            name=f"t{len(self.model.tensors)}", dtype=dtype, shape=values.shape, encoding=pb.DENSE
        )
        if inline:
            tensor.inline = payload
        else:
            digest = hashlib.sha256(payload)
            self.blobs[digest.hexdigest()] = payload
            tensor.blob.sha256, tensor.blob.size_bytes = digest.digest(), len(payload)
        return len(self.model.tensors) - 1

    def requantize(self, channels: int, fan_in: int, *, relu: bool) -> pb.Requantize:
        multiplier = np.full(channels, 1 / (40 * math.sqrt(fan_in)), np.float32)
        tensor = self.tensor(multiplier, pb.FLOAT32, inline=True)
        return pb.Requantize(multiplier=tensor, qmin=0 if relu else -128, qmax=127)

    def conv2d(self, x: int, out: int, kernel: int, stride: int, *, relu: bool = True) -> int:
        height, width, channels = self.model.activations[x].shape
        pad = kernel // 2
        weight = self.rng.integers(-127, 128, (out, kernel, kernel, channels), np.int8)
        bias = self.rng.integers(-1000, 1000, out, np.int32)
        size = [(n + 2 * pad - kernel) // stride + 1 for n in (height, width)]
        operator = self._operator([x], self.activation((*size, out)))
        conv = operator.conv2d
        conv.weight, conv.bias = self.tensor(weight, pb.INT8), self.tensor(bias, pb.INT32, inline=True)
        conv.stride_h = conv.stride_w = stride
        conv.groups = 1
        conv.padding.CopyFrom(pb.Padding(top=pad, bottom=pad, left=pad, right=pad))
        conv.requantize.CopyFrom(self.requantize(out, kernel * kernel * channels, relu=relu))
        return operator.output

    def linear(self, x: int, out: int) -> int:
        (features,) = self.model.activations[x].shape
        weight = self.rng.integers(-127, 128, (out, features), np.int8)
        operator = self._operator([x], self.activation((out,)))
        operator.linear.weight = self.tensor(weight, pb.INT8)
        operator.linear.bias = self.tensor(self.rng.integers(-1000, 1000, out, np.int32), pb.INT32, inline=True)
        operator.linear.requantize.CopyFrom(self.requantize(out, features, relu=False))
        return operator.output

    def add(self, a: int, b: int) -> int:
        operator = self._operator([a, b], self.activation(tuple(self.model.activations[a].shape)))
        operator.add.multiplier_a = operator.add.multiplier_b = 1 << 10
        tensor = self.tensor(np.array([1 / (1 << 11)], np.float32), pb.FLOAT32, inline=True)
        operator.add.requantize.CopyFrom(pb.Requantize(multiplier=tensor, qmin=0, qmax=127))
        return operator.output

    def global_average(self, x: int) -> int:
        height, width, channels = self.model.activations[x].shape
        operator = self._operator([x], self.activation((1, 1, channels)))
        pool = operator.average_pool
        pool.kernel_h, pool.kernel_w, pool.stride_h, pool.stride_w = height, width, 1, 1
        pool.padding.SetInParent()
        tensor = self.tensor(np.array([2.0 / (height * width)], np.float32), pb.FLOAT32, inline=True)
        pool.requantize.CopyFrom(pb.Requantize(multiplier=tensor, qmin=-128, qmax=127))
        return operator.output

    def flatten(self, x: int) -> int:
        operator = self._operator([x], self.activation((math.prod(self.model.activations[x].shape),)))
        operator.flatten.SetInParent()
        return operator.output

    def input(self, shape: tuple[int, ...]) -> int:
        index = self.activation(shape)
        table = (np.arange(256) - 128).astype(np.int8).reshape(1, 256)
        self.model.input.activation = index
        self.model.input.raw_table = self.tensor(table, pb.INT8, inline=True)
        self.model.input.multiplier = 10.0
        return index

    def build(self, name: str, output: int, labels: int) -> BuiltModel:
        self.model.name = name
        self.model.output.activation = output
        self.model.output.labels.extend(f"class {i}" for i in range(labels))
        return complete(self.model, self.blobs, self.rng)

    def _operator(self, inputs: list[int], output: int) -> pb.Operator:
        return self.model.operators.add(name=f"op{len(self.model.operators)}", inputs=inputs, output=output)


def complete(model: pb.Model, blobs: dict[str, bytes], rng: np.random.Generator) -> BuiltModel:
    """The model with golden vectors of the reference: random, smallest and largest raw inputs."""
    plain = model.SerializeToString(deterministic=True)
    engine = load_model(plain, lambda sha256: blobs[sha256.hex()], path="reference")
    elements = math.prod(model.activations[model.input.activation].shape)
    inputs = [rng.integers(0, 256, elements, np.uint8).tobytes() for _ in range(3)]
    golden = make_golden(engine, raw=[*inputs, bytes(elements), b"\xff" * elements])
    return _with_golden(model, blobs, golden)


def _with_golden(model: pb.Model, blobs: dict[str, bytes], golden: bytes) -> BuiltModel:
    digest = hashlib.sha256(golden)
    model.golden.sha256, model.golden.size_bytes = digest.digest(), len(golden)
    data = model.SerializeToString(deterministic=True)
    return BuiltModel(data, {**blobs, digest.hexdigest(): golden}, digest.hexdigest())


def linear_model(seed: int = 0, *, shape: tuple[int, int, int] = (4, 4, 1), classes: int = 10) -> BuiltModel:
    """Flatten and linear: the smallest classifier, with one tensor in a blob."""
    builder = Builder(np.random.default_rng(seed))
    output = builder.linear(builder.flatten(builder.input(shape)), classes)
    return builder.build("digits", output, classes)


def resnet8(seed: int = 0) -> BuiltModel:
    """ResNet-8 of MLPerf Tiny's size: 32x32x3 in, 16, 32 and 64 channels, 78 thousand weights."""
    builder = Builder(np.random.default_rng(seed))
    x = builder.conv2d(builder.input((32, 32, 3)), 16, 3, 1)
    for channels, stride in ((16, 1), (32, 2), (64, 2)):
        y = builder.conv2d(builder.conv2d(x, channels, 3, stride), channels, 3, 1, relu=False)
        shortcut = x if stride == 1 else builder.conv2d(x, channels, 1, stride, relu=False)
        x = builder.add(y, shortcut)
    output = builder.linear(builder.flatten(builder.global_average(x)), 10)
    return builder.build("resnet8", output, 10)


def with_wrong_golden(model: BuiltModel) -> BuiltModel:
    """The same model, whose golden vectors expect another output than any device will give."""
    golden = pb.GoldenVectors.FromString(model.blobs[model.golden_digest])
    golden.cases[0].output = bytes(byte ^ 1 for byte in golden.cases[0].output)
    blobs = {digest: blob for digest, blob in model.blobs.items() if digest != model.golden_digest}
    return _with_golden(pb.Model.FromString(model.data), blobs, golden.SerializeToString(deterministic=True))
