"""Writes what the compiled engine is held to without Python: models, inputs, and what the reference makes of them.

    python -m tests.native.cases FILE [--random N] [--damaged N]

`run_cases` reads the file where Python does not run: under an emulator, under sanitizers. It is made from seeds, so
that it is the same every time. Its layout is in `case_file.h`.
"""

from __future__ import annotations

import argparse
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import numpy as np

from edge_agent.errors import ModelFormatError
from edge_agent.runtime import Engine, load_model, parse_model
from edge_agent.runtime.tensors import decode_tensors
from tests.kernels.graphs import BuiltModel
from tests.kernels.mutations import mutate_bytes, mutate_fields
from tests.kernels.networks import NETWORKS, mobilenet_v2
from tests.kernels.random_models import random_model
from tests.kernels.shapes import (
    EXTREMES,
    convolution_of_every_size,
    depthwise_of_every_size,
    extreme_model,
    linear_of_every_size,
)

MAGIC = b"ESPCASE1"
REFUSED, VALUES_REFUSED, LOADS, TOO_LARGE = range(4)  # too large to be loaded in a test, though valid so far
LARGEST_ACTIVATIONS = 1 << 20  # elements


@dataclass
class Run:
    """One input, and what each operator gives for it."""

    raw: bool
    input: bytes
    output: bytes
    trace: list[bytes]


@dataclass
class Case:
    """A model, whether it is valid, and inputs to run."""

    name: str
    model: bytes
    payloads: list[bytes]  # by tensor; empty where its data stands inline
    verdict: int
    runs: list[Run] = field(default_factory=list)

    def write(self, file: BinaryIO) -> None:
        write_bytes(file, self.name.encode())
        write_bytes(file, self.model)
        file.write(struct.pack("<II", self.verdict, len(self.payloads)))
        for payload in self.payloads:
            write_bytes(file, payload)
        file.write(struct.pack("<I", len(self.runs)))
        for run in self.runs:
            file.write(struct.pack("<I", run.raw))
            write_bytes(file, run.input)
            write_bytes(file, run.output)
            file.write(struct.pack("<I", len(run.trace)))
            for output in run.trace:
                write_bytes(file, output)


def write_bytes(file: BinaryIO, data: bytes) -> None:
    file.write(struct.pack("<I", len(data)))
    file.write(data)


def payloads_of(model: bytes, blobs: dict[bytes, bytes]) -> list[bytes]:
    """What tensors refer to; zeros of the right size where damage renamed a blob."""
    tensors = parse_model(model).tensors
    inline = [isinstance(tensor.data, bytes) for tensor in tensors]
    return [
        b"" if is_inline else blobs.get(tensor.data.sha256, bytes(tensor.data.size_bytes))
        for tensor, is_inline in zip(tensors, inline, strict=True)
    ]


def valid_case(name: str, model: BuiltModel, seed: int) -> Case:
    reference = load_model(model.data, model.blobs.__getitem__, path="reference")
    case = Case(name, model.data, payloads_of(model.data, model.blobs), LOADS)
    rng = np.random.default_rng(seed)
    shape, scale = reference.graph.input_activation.elements, reference.graph.input_activation.scale
    normal = (rng.normal(size=shape) * scale * 80).astype("<f4")
    with_infinities = normal.copy()
    with_infinities[rng.integers(shape, size=3)] = np.inf, -np.inf, 1e38
    case.runs += [make_run(reference, x.tobytes(), raw=False) for x in (normal, with_infinities)]
    if reference.graph.input.raw_table is not None:
        x = rng.integers(0, 256, shape, dtype=np.uint8).tobytes()
        case.runs.append(make_run(reference, x, raw=True))
    return case


def make_run(reference: Engine, x: bytes, *, raw: bool) -> Run:
    output = reference.infer_raw(x) if raw else reference.infer_float(x)
    return Run(raw, x, output, reference.trace(x, raw=raw))


def extreme_cases() -> Iterator[Case]:
    for by_shift in (False, True):
        for zero_point, weight in EXTREMES:
            model = extreme_model(zero_point, weight, by_shift=by_shift)
            reference = load_model(model.data, model.blobs.__getitem__, path="reference")
            case = Case(f"extreme {zero_point} {weight}", model.data, payloads_of(model.data, model.blobs), LOADS)
            for value in (np.inf, -np.inf):
                case.runs.append(make_run(reference, np.full(900, value, dtype="<f4").tobytes(), raw=False))
            yield case


def valid_models(random: int) -> Iterator[tuple[str, BuiltModel]]:
    for seed in range(random):
        yield f"random {seed}", random_model(seed)
    sweeps = chain(
        *(linear_of_every_size(bits) for bits in (2, 3, 4, 6, 8)),
        *(depthwise_of_every_size(kernel, by_shift=kernel == 3) for kernel in (1, 3, 5)),
        *(convolution_of_every_size(kernel) for kernel in (1, 2, 3)),
    )
    for index, model in enumerate(sweeps):
        yield f"size sweep {index}", model
    for name, build in NETWORKS.items():
        yield name, mobilenet_v2(32) if name == "mobilenet-v2" else build()


def damaged_case(seed: int) -> Case:
    """A mutated model with what the Python reader says of it."""
    rng = np.random.default_rng(seed)
    source = random_model(int(rng.integers(40)))
    mutate = mutate_fields if rng.random() < 0.8 else mutate_bytes
    case = Case(f"damaged {seed}", mutate(source.data, rng), [], REFUSED)
    try:
        activations = parse_model(case.model).activations
    except ModelFormatError:
        return case
    case.payloads = payloads_of(case.model, source.blobs)
    too_large = sum(activation.elements for activation in activations) > LARGEST_ACTIVATIONS
    case.verdict = TOO_LARGE if too_large else judge(case.model, case.payloads)
    return case


def judge(model: bytes, payloads: list[bytes]) -> int:
    """What the Python reader says of a model; a tensor that no payload was given for has none."""
    try:
        tensors = parse_model(model).tensors
    except ModelFormatError:
        return REFUSED
    given = [*payloads, *[b""] * (len(tensors) - len(payloads))]
    chosen = [t.data if isinstance(t.data, bytes) else p for t, p in zip(tensors, given, strict=False)]
    try:
        decode_tensors(parse_model(model), chosen)
    except ModelFormatError:
        return VALUES_REFUSED
    return LOADS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--random", type=int, default=300, help="random models")
    parser.add_argument("--damaged", type=int, default=3000, help="mutated models, most of which are to be refused")
    args = parser.parse_args()
    valid = (valid_case(name, model, seed) for seed, (name, model) in enumerate(valid_models(args.random)))
    damaged = (damaged_case(seed) for seed in range(args.damaged))
    args.file.parent.mkdir(parents=True, exist_ok=True)
    with args.file.open("wb") as file:
        file.write(MAGIC)
        count = 0
        for case in chain(valid, extreme_cases(), damaged):
            case.write(file)
            count += 1
    print(f"{args.file}: {count} cases, {args.file.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
