"""The reference itself, against the words of docs/format.md in plain Python integers."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.errors import ModelFormatError
from edge_agent.runtime import graph as g
from edge_agent.runtime import load_model
from edge_agent.runtime import reference_ops as ops
from edge_agent.runtime.blocks import decode_blocks
from edge_agent.runtime.tensors import unpack
from tests.kernels.graphs import GraphBuilder
from tests.kernels.payloads import keep_blocks, pack, pack_blocks

int8 = st.integers(-128, 127)
accumulators = st.integers(-(2**30) + 1, 2**30 - 1)
ranges = st.tuples(int8, int8).map(sorted)


def float32_exact(value: Fraction) -> Fraction:
    """Round a rational to the nearest float32, ties to even, by way of a double that holds it exactly."""
    as_double = float(value)
    assert Fraction(as_double) == value
    return Fraction(float(np.float32(as_double)))


@given(acc=accumulators, multiplier=st.floats(2.0**-40, 2.0**8, width=32), bounds=ranges, zero_point=int8)
@settings(max_examples=500, deadline=None)
def test_requantize_by_multiplier(acc: int, multiplier: float, bounds: list[int], zero_point: int) -> None:
    qmin, qmax = bounds
    product = float32_exact(float32_exact(Fraction(acc)) * Fraction(multiplier))
    clamped = min(max(product, Fraction(qmin - zero_point)), Fraction(qmax - zero_point))
    expected = round(clamped) + zero_point  # Python rounds a Fraction's ties to even
    form = g.Requantize(is_shift=False, tensor=0, qmin=qmin, qmax=qmax)
    actual = ops.requantize(np.array([acc]), form, [np.array([multiplier], dtype=np.float32)], zero_point)
    assert actual.tolist() == [expected]


@given(acc=accumulators, shift=st.integers(-8, 30), bounds=ranges, zero_point=int8)
@settings(max_examples=500, deadline=None)
def test_requantize_by_shift(acc: int, shift: int, bounds: list[int], zero_point: int) -> None:
    qmin, qmax = bounds
    if shift > 0:
        value = (acc + (1 << (shift - 1))) >> shift
    elif shift == 0:
        value = acc
    else:
        value = min(max(acc, -(2**22)), 2**22) << -shift
    form = g.Requantize(is_shift=True, tensor=0, qmin=qmin, qmax=qmax)
    actual = ops.requantize(np.array([acc]), form, [np.array([shift], dtype=np.int8)], zero_point)
    assert actual.tolist() == [min(max(value + zero_point, qmin), qmax)]


def test_ties_go_to_even_by_multiplier_and_up_by_shift() -> None:
    accs = np.array([-3, -1, 1, 3, 5])
    by_multiplier = g.Requantize(is_shift=False, tensor=0, qmin=-128, qmax=127)
    by_shift = g.Requantize(is_shift=True, tensor=0, qmin=-128, qmax=127)
    halves, ones = [np.array([0.5], dtype=np.float32)], [np.array([1], dtype=np.int8)]
    assert ops.requantize(accs, by_multiplier, halves, 0).tolist() == [-2, 0, 0, 2, 2]
    assert ops.requantize(accs, by_shift, ones, 0).tolist() == [-1, 0, 1, 2, 3]


@given(bits=st.sampled_from([2, 3, 4, 6]), rows=st.integers(1, 5), columns=st.integers(1, 40), seed=st.integers(0, 999))
@settings(max_examples=200, deadline=None)
def test_packed_integers_come_back(bits: int, rows: int, columns: int, seed: int) -> None:
    values = np.random.default_rng(seed).integers(-(1 << (bits - 1)), 1 << (bits - 1), (rows, columns)).astype(np.int8)
    packed = np.frombuffer(pack(values, bits), dtype=np.uint8)
    assert np.array_equal(unpack(packed, values.shape, bits, "w"), values)


def test_packing_is_least_significant_bit_first() -> None:
    assert pack(np.array([[1, -2, 3, -4, 0]], dtype=np.int8), 3) == bytes([0b11_110_001, 0b0_000_100_0])


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("by_shift", [False, True])
def test_convolution_is_the_written_sum(groups: int, by_shift: bool) -> None:
    builder = GraphBuilder(np.random.default_rng(groups))
    x = builder.input((5, 6, 4), raw=False)
    built = builder.finish(builder.conv2d(x, 8, (3, 2), (2, 1), (1, 0, 2, 1), groups, by_shift=by_shift))
    engine = load_model(built.data, built.blobs.__getitem__, path="reference")
    conv, grid, out = engine.graph.operators[0].kind, engine.graph.input_activation, engine.graph.output_activation
    assert isinstance(conv, g.Conv2D)
    weight, bias = (np.frombuffer(t.data, dtype) for t, dtype in zip(engine.graph.tensors, ("i1", "<i4"), strict=False))
    q = np.random.default_rng(7).integers(-128, 128, (5, 6, 4)).astype(np.int8)
    acc = np.zeros(out.shape, dtype=np.int64)
    for h, w, o in itertools.product(*map(range, out.shape)):
        acc[h, w, o] = bias[o] + _window_sum(q, weight.reshape(8, 3, 2, 4 // groups), h, w, o, grid.zero_point, groups)
    tensors = [np.frombuffer(t.data, {g.DType.FLOAT32: "<f4"}.get(t.dtype, "i1")) for t in engine.graph.tensors]
    expected = ops.requantize(acc, conv.requantize, tensors, out.zero_point)
    values = ((q.astype(np.float64) - grid.zero_point) * grid.scale).astype("<f4")
    assert np.array_equal(np.frombuffer(engine.infer_float(values.tobytes()), np.int8).reshape(out.shape), expected)


def _window_sum(q: np.ndarray, weight: np.ndarray, h: int, w: int, o: int, zero_point: int, groups: int) -> int:
    """Stride (2, 1), pad top 1 and left 2, as the test above builds it."""
    total, per_group = 0, q.shape[2] // groups
    group = o // (weight.shape[0] // groups)
    for i, j, c in itertools.product(range(3), range(2), range(per_group)):
        row, column = 2 * h + i - 1, w + j - 2
        if 0 <= row < q.shape[0] and 0 <= column < q.shape[1]:
            total += int(weight[o, i, j, c]) * (int(q[row, column, group * per_group + c]) - zero_point)
    return total


def test_softmax_of_equal_values_is_even() -> None:
    table = np.floor(np.exp(-0.1 * np.arange(256)) * (2**32 - 1)).astype(np.uint32)
    assert ops.softmax(np.array([[5, 5, 5, 5]], dtype=np.int8), table).tolist() == [[-64, -64, -64, -64]]


def test_softmax_saturates_at_the_top() -> None:
    table = np.zeros(256, dtype=np.uint32)
    table[0] = 2**32 - 1
    assert ops.softmax(np.array([[127, -128]], dtype=np.int8), table).tolist() == [[127, -128]]


@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 3), st.integers(1, 3), st.integers(1, 20)),
    bits=st.sampled_from([0, 2, 3, 4, 6]),
    block_rows=st.sampled_from([4, 8, 16]),
    density=st.sampled_from([0.0, 0.2, 0.7, 1.0]),
    seed=st.integers(0, 999),
)
@settings(max_examples=200, deadline=None)
def test_block_sparse_weights_come_back(
    shape: tuple[int, ...], bits: int, block_rows: int, density: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    high = 127 if bits == 0 else (1 << (bits - 1)) - 1
    values = keep_blocks(rng.integers(-high, high + 1, shape).astype(np.int8), block_rows, density, rng)
    payload, blocks = pack_blocks(values, block_rows, bits)
    tensor = g.Tensor("w", g.DType.INT8, shape, bits, payload, block_rows, blocks)
    assert len(payload) == tensor.payload_bytes
    assert np.array_equal(decode_blocks(tensor, payload), values)


def test_a_block_index_is_a_bit_for_each_block_and_a_byte_for_each_row_of_blocks() -> None:
    values = np.zeros((5, 8), dtype=np.int8)
    values[0, 4:], values[4, :4] = [1, 2, 3, 4], [5, 6, 7, 8]
    beyond_the_edge = bytes(12)
    payload = bytes([0b10, 0b01, 1, 2, 3, 4]) + bytes(12) + bytes([5, 6, 7, 8]) + beyond_the_edge
    assert pack_blocks(values, 4) == (payload, 2)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (bytes([0b11, 0b01]) + bytes(32), "names 3 blocks, not 2"),
        (bytes([0b00, 0b01]) + bytes(32), "names 1 blocks, not 2"),
        (bytes([0b110, 0b01]) + bytes(32), "a bit between two rows"),
        (bytes([0b10, 0b01]) + bytes(31) + b"\x01", "not zero beyond the edge"),
    ],
)
def test_a_damaged_block_index_is_refused(payload: bytes, reason: str) -> None:
    tensor = g.Tensor("w", g.DType.INT8, (5, 8), 0, payload, block_rows=4, blocks=2)
    with pytest.raises(ModelFormatError, match=reason):
        decode_blocks(tensor, payload)
