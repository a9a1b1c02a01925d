"""Golden vectors: made by the reference where a model is built, compared on the device before it serves the model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from edge_agent.errors import GoldenMismatchError, ModelFormatError
from edge_agent.runtime import limits
from edge_agent.runtime.graph import Graph
from edge_agent.runtime.interface import Engine
from edge_agent.runtime.wire import check_canonical
from protos import model_pb2 as pb


def check_golden(engine: Engine, golden: bytes) -> None:
    """Compare the serving path with the golden vectors.

    Raises:
        ModelFormatError: the bytes are no golden vectors of this model.
        GoldenMismatchError: an output differs; names the first operator whose unfused output does.
    """
    for index, case in enumerate(parse_golden(golden, engine.graph).cases):
        raw = case.WhichOneof("input") == "raw"
        output = engine.infer_raw(case.raw) if raw else engine.infer_float(case.float32)
        if output != case.output:
            raise GoldenMismatchError(index, _first_difference(engine, case, raw))


def make_golden(engine: Engine, *, raw: Iterable[bytes] = (), float32: Iterable[bytes] = ()) -> bytes:
    """The canonical golden vectors for these inputs; `engine` should be the reference."""
    cases = [_make_case(engine, pb.GoldenCase(raw=x), x, raw=True) for x in raw]
    cases += [_make_case(engine, pb.GoldenCase(float32=x), x, raw=False) for x in float32]
    data: bytes = pb.GoldenVectors(cases=cases).SerializeToString(deterministic=True)
    parse_golden(data, engine.graph)
    return data


def parse_golden(golden: bytes, graph: Graph) -> pb.GoldenVectors:
    """Read golden vectors and hold their sizes to the model; raises `ModelFormatError`."""
    if len(golden) > limits.GOLDEN_BYTES:
        raise ModelFormatError(f"the golden vectors have {len(golden)} bytes, more than {limits.GOLDEN_BYTES}")
    golden = bytes(golden)
    check_canonical(golden, pb.GoldenVectors.DESCRIPTOR)
    message: pb.GoldenVectors = pb.GoldenVectors.FromString(golden)
    if not message.cases:
        raise ModelFormatError("the golden vectors have no case")
    for index, case in enumerate(message.cases):
        _check_case(case, graph, f"golden case {index}")
    return message


def _check_case(case: pb.GoldenCase, graph: Graph, where: str) -> None:
    elements = graph.input_activation.elements
    kind = case.WhichOneof("input")
    if kind is None or (kind == "raw" and graph.input.raw_table is None):
        raise ModelFormatError(f"{where} has no input that the model accepts")
    if len(case.raw) + len(case.float32) != elements * (1 if kind == "raw" else 4):
        raise ModelFormatError(f"{where}: the input does not have the model's size")
    if len(case.output) != graph.output_activation.elements:
        raise ModelFormatError(f"{where}: the output does not have the model's size")
    if [len(digest) for digest in case.operator_sha256] != [32] * len(graph.operators):
        raise ModelFormatError(f"{where}: there is not one SHA-256 for each operator")


def _make_case(engine: Engine, case: pb.GoldenCase, x: bytes, *, raw: bool) -> pb.GoldenCase:
    case.output = engine.infer_raw(x) if raw else engine.infer_float(x)
    case.operator_sha256.extend(hashlib.sha256(output).digest() for output in engine.trace(x, raw=raw))
    return case


def _first_difference(engine: Engine, case: pb.GoldenCase, raw: bool) -> str | None:
    outputs = engine.trace(case.raw if raw else case.float32, raw=raw)
    for operator, output, expected in zip(engine.graph.operators, outputs, case.operator_sha256, strict=True):
        if hashlib.sha256(output).digest() != expected:
            return operator.name
    return None
