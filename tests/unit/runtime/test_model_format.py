"""What the reader refuses, one rule at a time, and that it says why."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from edge_agent.errors import ModelFormatError
from edge_agent.runtime import load_model, parse_model
from edge_agent.runtime.wire import check_canonical
from protos import model_pb2 as pb
from tests.kernels.graphs import BuiltModel, GraphBuilder


@pytest.fixture(scope="module")
def built() -> BuiltModel:
    """conv2d (op0), max pool (op1), flatten (op2), linear (op3), softmax (op4)."""
    builder = GraphBuilder(np.random.default_rng(0))
    x = builder.conv2d(builder.input((6, 6, 3)), 8, (3, 3), padding=(1, 1, 1, 1))
    x = builder.flatten(builder.max_pool(x, (2, 2), (2, 2)))
    return builder.finish(builder.softmax(builder.linear(x, 10, bits=4)))


def assert_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ModelFormatError, match=reason):
        parse_model(data)


def test_a_valid_model_is_read(built: BuiltModel) -> None:
    graph = parse_model(built.data)
    assert [type(op.kind).__name__ for op in graph.operators] == ["Conv2D", "MaxPool", "Flatten", "Linear", "Softmax"]
    assert graph.input_activation.shape == (6, 6, 3)
    assert graph.output_activation.shape == (10,)
    assert graph.tensor_blobs == tuple(blob for blob in graph.tensor_blobs if blob.sha256 in built.blobs)


def test_protobuf_writes_the_canonical_form(built: BuiltModel) -> None:
    parse_model(built.message().SerializeToString(deterministic=True))


WIRE = [
    (b"\x98\x06\x01", "field 99 is unknown"),
    (b"\x08\x01", "out of order or stands twice"),
    (b"\x40\x01", "wire type"),
    (b"\x42\x80", "cut off"),
    (b"\x42\x05", "ends beyond its message"),
    (b"\x42\x84\x00", "shortest form"),
    (b"\x42" + b"\xff" * 10 + b"\x01", "more than 10 bytes"),
]


@pytest.mark.parametrize(("tail", "reason"), WIRE)
def test_only_the_canonical_encoding_is_read(built: BuiltModel, tail: bytes, reason: str) -> None:
    assert_refused(built.data + tail, reason)


def test_an_explicit_default_is_refused() -> None:
    head = pb.Model(format_version=1, name="m").SerializeToString(deterministic=True)
    activation_0 = b"\x08\x00"
    assert_refused(head + b"\x1a\x02" + activation_0, "is its default and must be left out")


def test_an_empty_file_is_refused() -> None:
    assert_refused(b"", "format version 0")


EDITS: list[tuple[str, Callable[[pb.Model], object], str]] = [
    ("version", lambda m: setattr(m, "format_version", 2), "format version 2 is not 1"),
    ("name with a slash", lambda m: setattr(m, "name", "../etc"), "is no model name"),
    ("no input", lambda m: m.ClearField("input"), "has no input"),
    ("no operators", lambda m: m.ClearField("operators"), "there is no operator"),
    ("16-bit activation", lambda m: setattr(m.activations[0], "dtype", pb.INT16), "is not INT8"),
    ("scale of infinity", lambda m: setattr(m.activations[0], "scale", float("inf")), "cannot have the scale inf"),
    ("zero point", lambda m: setattr(m.activations[0], "zero_point", 128), "cannot have the zero point 128"),
    ("labels", lambda m: m.output.labels.append("cat"), "1 labels do not match"),
    ("order", lambda m: m.operators[0].inputs.__setitem__(0, 5), "reads what is not computed yet"),
    ("twice computed", lambda m: setattr(m.operators[1], "output", 1), "is computed already"),
    ("same name", lambda m: setattr(m.operators[1], "name", "op0"), "its name is taken"),
    ("two inputs", lambda m: m.operators[0].inputs.append(0), "it has 2 inputs"),
    ("groups", lambda m: setattr(m.operators[0].conv2d, "groups", 2), "2 groups do not divide"),
    ("stride 0", lambda m: m.operators[0].conv2d.ClearField("stride_h"), "at least 1"),
    ("stride", lambda m: setattr(m.operators[0].conv2d, "stride_h", 2), r"its window makes \(3, 6\)"),
    ("no padding", lambda m: m.operators[0].conv2d.ClearField("padding"), "Conv2D has no padding"),
    ("huge padding", lambda m: setattr(m.operators[0].conv2d.padding, "top", 2**32 - 1), "its window is too large"),
    ("pool padding", lambda m: setattr(m.operators[1].max_pool.padding, "top", 2), "pad is smaller than its kernel"),
    ("grid", lambda m: setattr(m.activations[2], "scale", 1.0), "keeps the input's scale"),
    ("range", lambda m: setattr(m.operators[0].conv2d.requantize, "qmax", 128), "is no range of int8"),
    ("softmax grid", lambda m: setattr(m.activations[5], "scale", 0.5), "output scale 1/256"),
    ("unused tensor", lambda m: m.tensors.append(m.tensors[0]), "a tensor is never used"),
    ("tensor index", lambda m: setattr(m.operators[3].linear, "weight", 99), "weight is not a tensor"),
    ("tensor type", lambda m: setattr(m.operators[3].linear, "bias", 0), "bias is INT8, not INT32"),
    ("payload size", lambda m: setattr(m.tensors[0], "inline", b"123"), "needs 768 bytes, not 3"),
    ("packing", lambda m: setattr(m.tensors[0], "bits", 4), "is dense and has 4 bits"),
    ("5 bits", lambda m: (setattr(m.tensors[0], "bits", 5), setattr(m.tensors[0], "encoding", 2)), "5-bit packing"),
    ("digest", lambda m: setattr(m.golden, "sha256", b"short"), "named by 5 bytes instead of 32"),
]


@pytest.mark.parametrize(("edit", "reason"), [edit[1:] for edit in EDITS], ids=[edit[0] for edit in EDITS])
def test_each_rule_has_its_own_message(built: BuiltModel, edit: Callable[[pb.Model], object], reason: str) -> None:
    message = built.message()
    edit(message)
    assert_refused(message.SerializeToString(deterministic=True), reason)


def test_an_accumulator_that_can_overflow_is_refused_at_load(built: BuiltModel) -> None:
    message = built.message()
    bias = message.tensors[message.operators[0].conv2d.bias]
    bias.inline = np.full(8, 2**30, dtype="<i4").tobytes()
    data = message.SerializeToString(deterministic=True)
    with pytest.raises(ModelFormatError, match="accumulator"):
        load_model(data, built.blobs.__getitem__)


@pytest.mark.parametrize("multiplier", [float("nan"), float("inf"), 0.0, -1.0, 2.0**-41, 257.0])
def test_a_multiplier_out_of_range_is_refused_at_load(built: BuiltModel, multiplier: float) -> None:
    message = built.message()
    tensor = message.tensors[message.operators[0].conv2d.requantize.multiplier]
    tensor.inline = np.full(len(tensor.inline) // 4, multiplier, dtype="<f4").tobytes()
    data = message.SerializeToString(deterministic=True)
    with pytest.raises(ModelFormatError, match="multiplier"):
        load_model(data, built.blobs.__getitem__)


def test_many_tiny_messages_are_refused_before_they_become_objects() -> None:
    """A few bytes each on the wire, hundreds as objects: the count is checked first."""
    head = pb.Model(format_version=1, name="m").SerializeToString(deterministic=True)
    started = time.monotonic()
    assert_refused(head + b"\x2a\x00" * 2_000_000, "more activations than the format allows")
    assert time.monotonic() - started < 5


def test_an_enumeration_beyond_32_bits_is_not_cut_to_one_that_is_known() -> None:
    dtype_int8_and_2_to_the_32 = b"\x10\x81\x80\x80\x80\x10"
    with pytest.raises(ModelFormatError, match="does not fit its type"):
        check_canonical(dtype_int8_and_2_to_the_32, pb.Activation.DESCRIPTOR)


def test_a_claim_of_a_huge_map_allocates_nothing(built: BuiltModel) -> None:
    message = built.message()
    message.activations[0].shape[:] = [2**31, 2**31, 3]
    assert_refused(message.SerializeToString(deterministic=True), "cannot have the shape")
