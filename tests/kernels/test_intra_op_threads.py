"""Threads share large operators and give the bits that one thread gives."""

from __future__ import annotations

import multiprocessing
import os
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.errors import ConfigError
from edge_agent.runtime import Engine, available_paths, load_model
from tests.kernels.graphs import BuiltModel, GraphBuilder
from tests.kernels.networks import mlp, mobilenet_v2, resnet8

pytestmark = pytest.mark.kernels

PATHS = available_paths()[:-1]
LARGE = (1 << 24) + (1 << 20)
"""Multiplications that are shared for certain (more than `worth_helpers` of every path)."""


def load(model: BuiltModel, path: str, threads: int) -> Engine:
    return load_model(model.data, model.blobs.__getitem__, path=path, threads=threads)


def helpers() -> int:
    """Threads that engines started; the other libraries of the test run have theirs, and start some in children."""
    names = []
    for name in Path("/proc/self/task").glob("*/comm"):
        with suppress(OSError):  # a thread that has just ended
            names.append(name.read_text())
    return names.count("espalier-crew\n")


def large_model(seed: int) -> BuiltModel:
    """A convolution of any kind and an add, each large enough to be shared, or a linear operator; sizes at random."""
    rng = np.random.default_rng(seed)
    builder = GraphBuilder(rng)
    if rng.random() < 0.3:
        features = int(rng.integers(300, 900))
        return builder.finish(builder.linear(builder.input((features,)), LARGE // features + int(rng.integers(1, 300))))
    kernel, stride = ((1, 1), (3, 1), (3, 2))[rng.integers(3)]
    channels, height, width = int(rng.integers(20, 70)), int(rng.integers(30, 48)), int(rng.integers(30, 48))
    x = builder.input((height, width, channels))
    window = ((kernel, kernel), (stride, stride), (kernel // 2,) * 4)
    if rng.random() < 0.4:
        x = builder.conv2d(x, channels, (kernel, kernel), (1, 1), window[2], groups=channels)
    outputs = height * width * channels * kernel * kernel // stride**2
    x = builder.conv2d(x, max(1, LARGE // outputs + int(rng.integers(1, 40))), *window)
    return builder.finish(builder.add(x, builder.clamp(x)))


@given(seed=st.integers(0, 2**32), threads=st.integers(2, 5))
@settings(max_examples=15, deadline=None)
def test_any_number_of_threads_gives_the_same_bits(seed: int, threads: int) -> None:
    model = large_model(seed)
    for path in PATHS:
        before, alone, crew = helpers(), load(model, path, 1), load(model, path, threads)
        activation = alone.graph.input_activation
        x = np.random.default_rng(seed).integers(0, 256, activation.elements, dtype=np.uint8).tobytes()
        assert crew.infer_batch(x * 3, raw=True) == alone.infer_batch(x * 3, raw=True)
        if path != "portable":  # whose products share nothing
            assert helpers() - before == threads - 1
        del crew


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("path", PATHS)
def test_networks_on_threads_match_their_trace(path: str, threads: int) -> None:
    for model in (resnet8(), mobilenet_v2(64)):
        engine = load(model, path, threads)
        x = bytes(range(256)) * (engine.graph.input_activation.elements // 256)
        assert engine.infer_raw(x) == engine.trace(x, raw=True)[-1]


def test_helpers_end_with_their_engine() -> None:
    before = helpers()
    engine = load(mobilenet_v2(64), PATHS[0], 4)
    engine.infer_raw(bytes(engine.graph.input_activation.elements))
    assert helpers() == before + 3
    del engine
    assert helpers() == before


def test_a_small_network_starts_no_helpers() -> None:
    before = helpers()
    engine = load(mlp(), PATHS[0], 4)
    engine.infer_raw(bytes(engine.graph.input_activation.elements))
    assert helpers() == before


def test_several_callers_take_turns_with_the_helpers() -> None:
    engine = load(mobilenet_v2(64), PATHS[0], 2)
    size = engine.graph.input_activation.elements
    inputs = [np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8).tobytes() for seed in range(3)]
    expected = [engine.infer_raw(x) for x in inputs]
    outputs: list[list[bytes]] = [[] for _ in inputs]

    def work(index: int) -> None:
        outputs[index] += [engine.infer_raw(inputs[index]) for _ in range(20)]

    callers = [threading.Thread(target=work, args=(index,)) for index in range(len(inputs))]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert outputs == [[output] * 20 for output in expected]


def test_a_forked_child_computes_alone() -> None:
    engine = load(mobilenet_v2(64), PATHS[0], 3)
    x = bytes(engine.graph.input_activation.elements)
    expected = engine.infer_raw(x)
    child = multiprocessing.get_context("fork").Process(target=_expect_and_drop, args=([engine], x, expected))
    child.start()
    child.join(60)
    assert child.exitcode == 0, {1: "other bits", 2: "helpers in the child"}.get(child.exitcode or 0)


def _expect_and_drop(engines: list[Engine], x: bytes, expected: bytes) -> None:
    is_same = engines[0].infer_raw(x) == expected
    engines.clear()
    os._exit(1 if not is_same else 2 if helpers() else 0)


@pytest.mark.parametrize("threads", [0, -1, 65])
def test_a_number_of_threads_that_makes_no_sense_is_refused(threads: int) -> None:
    with pytest.raises(ConfigError, match="engine threads"):
        load(resnet8(), PATHS[0], threads)
