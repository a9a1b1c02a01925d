"""Sequence operators on every path: all sizes around a vector, and the values at which fast ways go wrong."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from protos import model_pb2 as pb
from tests.kernels.graphs import OUTPUT_SOFTMAX_SCALE, GraphBuilder
from tests.kernels.shapes import SIZES, ExtremeBuilder
from tests.kernels.test_same_bits import COMPILED, assert_same_bits, load

pytestmark = pytest.mark.kernels


@pytest.mark.parametrize("b_transposed", [False, True])
def test_products_of_every_size_around_a_vector(b_transposed: bool) -> None:
    for index, columns in enumerate(SIZES[:25]):
        rng = np.random.default_rng(columns)
        inner, rows = SIZES[-index % 25], int(rng.choice(SIZES[:20]))
        heads = int(rng.choice([1, 2, 3]))
        builder = GraphBuilder(rng)
        x = builder.input((1, rows, heads * inner))
        matrix = (columns, inner) if b_transposed else (inner, columns)
        y = builder.constant((1, matrix[0], heads * matrix[1]))
        stacked = (False, False, heads > 1 and index % 2 == 0)
        product = builder.matmul(x, y, heads, stacked=stacked, b_transposed=b_transposed, by_shift=index % 3 == 0)
        assert_same_bits(builder.finish(product), columns)


@pytest.mark.parametrize("zero_points", list(itertools.product([-128, 127], repeat=2)))
def test_the_largest_products_do_not_wrap(zero_points: tuple[int, int]) -> None:
    builder = ExtremeBuilder(np.random.default_rng(0), fused_clamps=False)
    builder.zero_point = zero_points[0]
    x = builder.input((1, 3, 16512))
    builder.zero_point = zero_points[1]
    y = builder.operator([], builder.activation((1, 5, 16512)), constant=pb.Constant())
    value = builder.tensor(np.full((1, 5, 16512), 127 if zero_points[1] < 0 else -128, np.int8))
    builder.model.operators[0].constant.value = value
    built = builder.finish(builder.matmul(x, y, b_transposed=True))
    reference = load(built, "reference")
    for sign in (1, -1):
        ends = np.full(3 * 16512, sign * np.inf, dtype="<f4").tobytes()
        for path in COMPILED:
            assert load(built, path).infer_float(ends) == reference.infer_float(ends)


@pytest.mark.parametrize("by_shift", [False, True])
def test_layer_norm_of_every_size_around_a_vector(by_shift: bool) -> None:
    for channels in SIZES:
        builder = GraphBuilder(np.random.default_rng(channels))
        x = builder.layer_norm(builder.input((2, 3, channels)), by_shift=by_shift, bias=channels % 2 == 0)
        assert_same_bits(builder.finish(builder.layer_norm(x, by_shift=by_shift)), channels)


def test_layer_norm_of_pixels_without_variance() -> None:
    """Nothing but epsilon is under the root, at both ends of the grid."""
    builder = ExtremeBuilder(np.random.default_rng(0))
    builder.zero_point = -128
    built = builder.finish(builder.layer_norm(builder.input((1, 1, 16384))))
    reference = load(built, "reference")
    one = np.full(16384, np.inf, dtype="<f4")
    other = one.copy()
    other[0] = -np.inf
    for values in (one, -one, other, -other):
        for path in COMPILED:
            assert load(built, path).infer_float(values.tobytes()) == reference.infer_float(values.tobytes())


def descending(start: int, ratio: float) -> np.ndarray:
    return np.floor(start * ratio ** np.arange(256)).astype(np.uint32)


TABLES = {
    "whole range": descending(2**32 - 1, 0.95),
    "of our own": descending(2**31, 0.99),
    "at the fast way's edge": descending(2**24, 0.9),
    "below it": descending(2**24 - 1, 0.9),
    "tiny": descending(3, 0.7),
    "one hot": descending(2**32 - 1, 0.0),
    "all alike": np.full(256, 2**31, np.uint32),  # every quotient of 2 or 5 equal values is a tie or a whole number
    "rising": np.arange(1, 257, dtype=np.uint32) << 24,
}


@pytest.mark.parametrize("name", TABLES)
def test_softmax_of_every_size_and_table(name: str) -> None:
    for channels in [*SIZES, 1000]:
        builder = GraphBuilder(np.random.default_rng(channels))
        x = builder.input((4, 3, channels))
        output = builder.activation(builder.shape(x), OUTPUT_SOFTMAX_SCALE, -128)
        softmax = pb.Softmax(table=builder.tensor(TABLES[name]))
        assert_same_bits(builder.finish(builder.operator([x], output, softmax=softmax)), channels)


def test_elementwise_products_of_every_size_around_a_vector() -> None:
    for channels in SIZES:
        builder = GraphBuilder(np.random.default_rng(channels))
        x = builder.input((2, 2, channels))
        gated = builder.multiply(x, builder.average_pool(x, (2, 2)), by_shift=channels % 3 == 0)
        assert_same_bits(builder.finish(builder.multiply(gated, x)), channels)
