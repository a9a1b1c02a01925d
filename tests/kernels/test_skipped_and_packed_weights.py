"""Products that skip zero blocks and linears that stay packed: the reference's bits, and chosen only where they pay."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.runtime import available_paths, load_model
from tests.kernels.graphs import BuiltModel, GraphBuilder
from tests.kernels.shapes import ExtremeBuilder
from tests.kernels.test_same_bits import assert_same_bits

pytestmark = pytest.mark.kernels

COMPILED = available_paths()[:-1]


def sparse_builder(seed: int, block_rows: int, density: float) -> GraphBuilder:
    return GraphBuilder(np.random.default_rng(seed), block_rows=block_rows, block_density=density)


def weight_bytes(model: BuiltModel, path: str) -> int:
    return load_model(model.data, model.blobs.__getitem__, path=path).weight_bytes


@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 21)),
    channels=st.tuples(st.integers(1, 20).map(lambda quads: 4 * quads), st.integers(9, 70)),
    kernel=st.sampled_from([(1, 1), (1, 1), (3, 3), (1, 3), (5, 2)]),
    stride=st.sampled_from([(1, 1), (2, 2), (1, 2)]),
    padding=st.sampled_from([(0, 0, 0, 0), (1, 1, 1, 1), (0, 2, 1, 0)]),
    block_rows=st.sampled_from([4, 8, 16]),
    density=st.sampled_from([0.0, 0.05, 0.2, 0.5]),
    bits=st.sampled_from([8, 8, 4]),
    by_shift=st.booleans(),
    seed=st.integers(0, 999),
)
@settings(max_examples=100, deadline=None)
def test_sparse_convolutions(
    size: tuple[int, int],
    channels: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
    block_rows: int,
    density: float,
    bits: int,
    by_shift: bool,
    seed: int,
) -> None:
    builder = sparse_builder(seed, block_rows, density)
    x = builder.input((size[0] + kernel[0] - 1, size[1] + kernel[1] - 1, channels[0]))
    y = builder.conv2d(x, channels[1], kernel, stride, padding, bits=bits, by_shift=by_shift)
    assert_same_bits(builder.finish(y), seed)


@given(
    features=st.tuples(st.integers(1, 100).map(lambda quads: 4 * quads), st.integers(1, 150)),
    block_rows=st.sampled_from([4, 8, 16]),
    density=st.sampled_from([0.0, 0.05, 0.2]),
    by_shift=st.booleans(),
    seed=st.integers(0, 999),
)
@settings(max_examples=50, deadline=None)
def test_sparse_linears(features: tuple[int, int], block_rows: int, density: float, by_shift: bool, seed: int) -> None:
    builder = sparse_builder(seed, block_rows, density)
    y = builder.linear(builder.input((features[0],)), features[1], by_shift=by_shift)
    assert_same_bits(builder.finish(y), seed)


@pytest.mark.parametrize("by_shift", [False, True])
@pytest.mark.parametrize(("zero_point", "weight"), [(-128, 127), (127, -127)])
def test_the_largest_sums_of_stored_blocks(zero_point: int, weight: int, by_shift: bool) -> None:
    class Extreme(ExtremeBuilder):
        def weight(self, shape: tuple[int, ...], bits: int) -> tuple[int, float]:
            values = np.zeros(shape, dtype=np.int8)
            values[..., :16] = self.weight_value
            return self.sparse_tensor(values, 4), 100.0

    builder = Extreme(np.random.default_rng(0), fused_clamps=False)
    builder.zero_point, builder.weight_value = zero_point, weight
    x = builder.conv2d(builder.input((5, 7, 256)), 128, (1, 1), by_shift=by_shift)
    x = builder.conv2d(x, 256, (5, 7), by_shift=by_shift)
    assert_same_bits(builder.finish(builder.linear(builder.flatten(x), 33, by_shift=by_shift)), 0)


@pytest.mark.parametrize("path", [path for path in COMPILED if path != "portable"])
def test_blocks_are_skipped_where_few_are_stored_and_computed_where_most_are(path: str) -> None:
    def bytes_at(density: float) -> int:
        builder = sparse_builder(0, 4, density)
        return weight_bytes(builder.finish(builder.conv2d(builder.input((14, 14, 256), raw=False), 256, (1, 1))), path)

    dense = 256 * 256
    few, most = (0.1, 0.25) if path == "amx_int8" else (0.25, 0.98)  # tiles compute faster, and skip as fast as vectors
    assert bytes_at(few) < 0.4 * dense
    assert bytes_at(most) > dense


@pytest.mark.parametrize(
    ("bits", "features", "features_in"), [(2, 70, 30_001), (3, 1101, 1999), (4, 1101, 1999), (6, 70, 30_001)]
)
def test_large_packed_linears(bits: int, features: int, features_in: int) -> None:
    builder = GraphBuilder(np.random.default_rng(bits))
    x = builder.input((features_in,), raw=False)
    assert_same_bits(builder.finish(builder.linear(x, features, bits=bits, by_shift=bits % 2 == 0)), bits)


@pytest.mark.parametrize("path", [path for path in COMPILED if path != "portable"])
def test_a_large_linear_stays_packed_and_a_small_one_does_not(path: str) -> None:
    def bytes_at(features: int) -> int:
        builder = GraphBuilder(np.random.default_rng(0))
        x = builder.input((features,), raw=False)
        return weight_bytes(builder.finish(builder.linear(x, features, bits=4)), path)

    assert bytes_at(1600) < 0.6 * 1600**2
    assert bytes_at(400) > 400**2
