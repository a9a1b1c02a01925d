"""The sequence operators of the reference against the words of docs/format.md, and what the format refuses of them."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.errors import ModelFormatError
from edge_agent.runtime import available_paths, load_model, parse_model
from edge_agent.runtime import graph as g
from edge_agent.runtime import reference_ops as ops
from edge_agent.runtime.interface import Engine
from protos import model_pb2 as pb
from tests.kernels.graphs import BuiltModel, GraphBuilder

pytestmark = pytest.mark.kernels

int8 = st.integers(-128, 127)
NO_CLAMP = g.Requantize(is_shift=False, tensor=0, qmin=-128, qmax=127)


def activation(shape: tuple[int, ...], zero_point: int = 0) -> g.Activation:
    return g.Activation("x", shape, 1.0, zero_point)


@given(
    q=st.lists(int8, min_size=1, max_size=40),
    zero_point=int8,
    epsilon=st.integers(1, 2**44),
    gain=int8,
    bias=st.integers(-(2**29), 2**29),
    multiplier=st.floats(2.0**-24, 2.0**-8, width=32),
)
@settings(max_examples=300, deadline=None)
def test_layer_norm_rounds_four_times_and_only_where_it_says(
    q: list[int], zero_point: int, epsilon: int, gain: int, bias: int, multiplier: float
) -> None:
    """In rationals; float64 square roots and quotients of float32 values round to the same float32 as exact ones."""
    channels, centred = len(q), [value - zero_point for value in q]
    total = sum(centred)
    scaled = channels * sum(d * d for d in centred) - total * total + epsilon
    root = np.float32(math.sqrt(float(np.float32(scaled))))
    inverse = Fraction(float(np.float32(2.0**14 / float(root))))
    normalised = [round(Fraction(float(np.float32(float((channels * d - total) * inverse))))) for d in centred]
    accumulators = np.array([[gain * t + bias for t in normalised]])
    tensors = [np.array([multiplier], np.float32), np.full(channels, gain, np.int8), np.full(channels, bias, np.int32)]
    kind = g.LayerNorm(1, 2, epsilon, NO_CLAMP)
    actual = ops.layer_norm(
        np.array([q], np.int8), kind, tensors, activation((channels,), zero_point), activation((channels,))
    )
    assert np.array_equal(actual, ops.requantize(accumulators, NO_CLAMP, tensors, 0))
    assert max(map(abs, normalised)) <= 2**14 * math.sqrt(channels)


def test_the_largest_normalised_value_is_within_the_proven_bound() -> None:
    """One value far from all others over as many channels as may be."""
    q = np.full((1, 1 << 14), -128, np.int8)
    q[0, 0] = 127
    centred = q.astype(np.int64)
    total = int(centred.sum())
    scaled = (1 << 14) * int((centred**2).sum()) - total**2 + 1
    inverse = np.float32(2.0**14) / np.sqrt(np.float32(scaled))
    largest = np.rint(np.float32((1 << 14) * 127 - total) * inverse)
    assert 2**20 < largest <= 2**21


def test_layer_norm_is_close_to_that_of_real_numbers() -> None:
    rng = np.random.default_rng(0)
    q = rng.integers(-100, 101, (50, 64)).astype(np.int8)
    tensors = [np.array([1 / (64 * 2**14 * 0.03)], np.float32), np.full(64, 64, np.int8)]
    actual = ops.layer_norm(q, g.LayerNorm(1, None, 1, NO_CLAMP), tensors, activation((64,), 3), activation((64,)))
    real = (q - q.mean(axis=1, keepdims=True)) / q.std(axis=1, keepdims=True)
    assert np.abs(actual * 0.03 - real).max() <= 0.5 * 0.03 + 2**-13


def layouts() -> list[tuple[bool, bool, bool, bool]]:
    return list(itertools.product([False, True], repeat=4))


@pytest.mark.parametrize(("a_stacked", "b_stacked", "y_stacked", "transposed"), layouts())
def test_matmul_is_the_written_sum_in_every_layout(
    a_stacked: bool, b_stacked: bool, y_stacked: bool, transposed: bool
) -> None:
    heads, rows, inner, columns = 3, 4, 5, 2
    rng = np.random.default_rng(1)
    a, b = (rng.integers(-128, 128, shape) for shape in ((heads, rows, inner), (heads, inner, columns)))
    acc = np.zeros((heads, rows, columns), np.int64)
    for h, m, n, k in itertools.product(range(heads), range(rows), range(columns), range(inner)):
        acc[h, m, n] += (int(a[h, m, k]) - 7) * (int(b[h, k, n]) + 9)

    def stored(x: np.ndarray, is_stacked: bool) -> np.ndarray:
        return x if is_stacked else x.transpose(1, 0, 2).reshape(1, x.shape[1], -1)

    stored_a = stored(a, a_stacked).astype(np.int8)[np.newaxis]
    stored_b = stored(b.transpose(0, 2, 1) if transposed else b, b_stacked).astype(np.int8)[np.newaxis]
    expected = stored(acc, y_stacked)
    tensors = [np.array([2.0**-10], np.float32)]
    kind = g.MatMul(heads, a_stacked, b_stacked, transposed, y_stacked, NO_CLAMP)
    grids = [activation(stored_a.shape[1:], 7), activation(stored_b.shape[1:], -9)]
    actual = ops.matmul(stored_a, stored_b, kind, tensors, grids, activation(expected.shape))
    assert np.array_equal(actual[0], ops.requantize(expected, NO_CLAMP, tensors, 0))


def test_a_constant_of_a_batch_is_the_same_for_every_sample() -> None:
    builder = GraphBuilder(np.random.default_rng(0))
    x = builder.input((2, 3, 4))
    engine = reference(builder.finish(builder.concat([x, builder.constant((2, 3, 4))])))
    batch = np.random.default_rng(1).integers(0, 256, (3, 24), np.uint8)
    outputs = engine.infer_batch(batch.tobytes(), raw=True)
    assert outputs == b"".join(engine.infer_raw(sample.tobytes()) for sample in batch)


def reference(built: BuiltModel) -> Engine:
    return load_model(built.data, built.blobs.__getitem__, path="reference")


@pytest.mark.parametrize("inner", [16512, 16513])
def test_a_product_that_could_overflow_is_refused(inner: int) -> None:
    """16,512 products of 255 x 255 stay below 2^30, one more does not."""
    builder = GraphBuilder(np.random.default_rng(0))
    x = builder.input((1, 1, inner), raw=False)
    for grid in builder.model.activations:
        grid.zero_point = -128
    y = builder.constant((1, 1, inner))
    builder.model.activations[y].zero_point = 127
    built = builder.finish(builder.matmul(x, y, b_transposed=True))
    if inner == 16512:
        load_everywhere(built)
        return
    with pytest.raises(ModelFormatError, match="accumulator can overflow"):
        parse_model(built.data)


def load_everywhere(built: BuiltModel) -> None:
    """The largest sum there can be, on every path."""
    elements = parse_model(built.data).input_activation.elements
    x = np.full(elements, np.inf, dtype="<f4").tobytes()
    outputs = {load_model(built.data, built.blobs.__getitem__, path=path).infer_float(x) for path in available_paths()}
    assert len(outputs) == 1


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda kind: setattr(kind, "heads", 3), "heads do not divide"),
        (lambda kind: setattr(kind, "heads", 0), "no head"),
        (lambda kind: setattr(kind, "a_stacked", True), "do not divide|do not fit"),
        (lambda kind: setattr(kind, "b_transposed", False), "do not fit"),
    ],
)
def test_matrices_that_do_not_fit_are_refused(change, why: str) -> None:
    builder = GraphBuilder(np.random.default_rng(0))
    x = builder.input((2, 3, 4))
    builder.matmul(x, x, 2, b_transposed=True, stacked=(False, False, True))
    change(builder.model.operators[0].matmul)
    with pytest.raises(ModelFormatError, match=why):
        parse_model(builder.finish(1).data)


@pytest.mark.parametrize("axes", [[0, 1], [0, 1, 1], [0, 1, 3], [0, 1, 2, 0]])
def test_axes_that_are_no_order_are_refused(axes: list[int]) -> None:
    builder = GraphBuilder(np.random.default_rng(0))
    builder.permute(builder.input((2, 2, 2)), (0, 1, 2))
    builder.model.operators[0].permute.CopyFrom(pb.Permute(axes=axes))
    with pytest.raises(ModelFormatError):
        parse_model(builder.finish(1).data)


@pytest.mark.parametrize("epsilon", [0, 2**44 + 1])
def test_an_epsilon_out_of_range_is_refused(epsilon: int) -> None:
    builder = GraphBuilder(np.random.default_rng(0))
    builder.layer_norm(builder.input((5,)))
    builder.model.operators[0].layer_norm.epsilon = epsilon
    with pytest.raises(ModelFormatError, match="epsilon"):
        parse_model(builder.finish(1).data)
