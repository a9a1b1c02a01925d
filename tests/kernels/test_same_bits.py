"""Every path computes what the reference computes, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from edge_agent.errors import ModelFormatError
from edge_agent.runtime import available_paths, load_model
from edge_agent.runtime.interface import Engine
from tests.kernels.graphs import BuiltModel
from tests.kernels.networks import NETWORKS, mobilenet_v2
from tests.kernels.random_models import random_model
from tests.kernels.shapes import (
    EXTREMES,
    LARGE,
    convolution_of_every_size,
    depthwise_of_every_size,
    extreme_model,
    large_convolution,
    linear_of_every_size,
)

pytestmark = pytest.mark.kernels

COMPILED = available_paths()[:-1]


def load(model: BuiltModel, path: str) -> Engine:
    engine = load_model(model.data, model.blobs.__getitem__, path=path)
    assert engine.path == path
    return engine


def float_inputs(engine: Engine, samples: int, seed: int) -> bytes:
    """Normal inputs that reach both ends of the grid, and infinities."""
    activation = engine.graph.input_activation
    rng = np.random.default_rng(seed)
    values = rng.normal(size=samples * activation.elements) * activation.scale * 80
    values[0] = rng.choice([np.inf, -np.inf, 1e38, 0.0])
    return values.astype("<f4").tobytes()


def raw_input(engine: Engine, seed: int) -> bytes:
    return (
        np.random.default_rng(seed).integers(0, 256, engine.graph.input_activation.elements, dtype=np.uint8).tobytes()
    )


def assert_same_bits(model: BuiltModel, seed: int) -> None:
    reference = load(model, "reference")
    batch = float_inputs(reference, 2, seed)
    one = batch[: len(batch) // 2]
    expected_batch, expected_trace = reference.infer_batch(batch, raw=False), reference.trace(one, raw=False)
    raw = raw_input(reference, seed) if reference.graph.input.raw_table is not None else None
    for path in COMPILED:
        engine = load(model, path)
        names = [f"{path}: {op.name} {op.kind}" for op in reference.graph.operators]
        actual_trace = engine.trace(one, raw=False)
        differing = [n for n, a, e in zip(names, actual_trace, expected_trace, strict=True) if a != e]
        assert not differing, differing[0]
        assert engine.infer_batch(batch, raw=False) == expected_batch
        assert engine.infer_float(one) == expected_trace[-1]
        if raw is not None:
            assert engine.infer_raw(raw) == reference.infer_raw(raw)
        assert engine.dequantize(expected_batch) == reference.dequantize(expected_batch)


def is_accepted(model: BuiltModel) -> bool:
    """Rarely a random model is so large that a sum could overflow; then every reader must say so."""
    try:
        load(model, "reference")
    except ModelFormatError:
        for path in available_paths():
            with pytest.raises(ModelFormatError, match="can overflow"):
                load(model, path)
        return False
    return True


@given(seed=st.integers(0, 2**32))
@example(seed=47138)  # a model that is refused
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_random_graphs(seed: int) -> None:
    model = random_model(seed)
    if is_accepted(model):
        assert_same_bits(model, seed)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(20))
def test_many_random_graphs(block: int) -> None:
    compared = 0
    for seed in range(block * 1000, (block + 1) * 1000):
        model = random_model(seed, largest_side=20, largest_channels=150)
        if is_accepted(model):
            assert_same_bits(model, seed)
            compared += 1
    assert compared > 990


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "mobilenet-v2"])
def test_small_networks(name: str) -> None:
    assert_same_bits(NETWORKS[name](), seed=1)


def test_mobilenet_v2_at_64_pixels() -> None:
    assert_same_bits(mobilenet_v2(64), seed=1)


@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8])
def test_linear_of_every_size_around_a_vector(bits: int) -> None:
    for seed, model in enumerate(linear_of_every_size(bits)):
        assert_same_bits(model, seed)


@pytest.mark.parametrize("by_shift", [False, True])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_depthwise_of_every_size_around_a_vector(kernel: int, by_shift: bool) -> None:
    for seed, model in enumerate(depthwise_of_every_size(kernel, by_shift=by_shift)):
        assert_same_bits(model, seed)


@pytest.mark.parametrize("kernel", [1, 2, 3])
def test_convolution_of_every_width_and_channel_count_around_a_tile(kernel: int) -> None:
    for seed, model in enumerate(convolution_of_every_size(kernel)):
        assert_same_bits(model, seed)


@pytest.mark.parametrize("by_shift", [False, True])
@pytest.mark.parametrize("shape", LARGE)
def test_convolution_large_enough_for_whole_tiles(shape: tuple[int, ...], by_shift: bool) -> None:
    assert_same_bits(large_convolution(shape, by_shift=by_shift), seed=3)


@pytest.mark.parametrize("by_shift", [False, True])
@pytest.mark.parametrize(("zero_point", "weight"), EXTREMES)
def test_extreme_values_do_not_wrap(zero_point: int, weight: int, by_shift: bool) -> None:
    model = extreme_model(zero_point, weight, by_shift=by_shift)
    reference = load(model, "reference")
    for value in (np.inf, -np.inf):
        x_bytes = np.full(900, value, dtype="<f4").tobytes()
        expected = reference.trace(x_bytes, raw=False)
        for path in COMPILED:
            assert load(model, path).trace(x_bytes, raw=False) == expected
