"""The Python reader and the C++ reader accept and refuse the same files, and neither ever fails in another way."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_agent.errors import ModelFormatError
from edge_agent.runtime import Graph, available_paths, parse_model
from edge_agent.runtime.tensors import decode_tensors
from tests.kernels.graphs import BuiltModel
from tests.kernels.mutations import mutate_bytes, mutate_fields
from tests.kernels.random_models import random_model

pytestmark = [
    pytest.mark.kernels,
    pytest.mark.skipif(available_paths() == ("reference",), reason="the C++ engine is not built"),
]

SOURCES = [random_model(seed) for seed in range(40)]


def python_reads(data: bytes) -> Graph | None:
    try:
        return parse_model(data)
    except ModelFormatError:
        return None


def native_reads(data: bytes) -> bool:
    from edge_agent.runtime import _engine

    try:
        _engine.check_model(data)
    except ValueError:
        return False
    return True


def python_loads(graph: Graph, payloads: list[bytes]) -> bool:
    try:
        decode_tensors(graph, payloads)
    except ModelFormatError:
        return False
    return True


def native_loads(data: bytes, payloads: list[bytes]) -> bool:
    from edge_agent.runtime import _engine

    try:
        _engine.Model(data, lambda index, _sha256, _size_bytes: payloads[index], "portable", 1)
    except ValueError:
        return False
    return True


def payloads_of(graph: Graph, model: BuiltModel) -> list[bytes]:
    """What the tensors refer to; zeros of the right size where a mutation renamed a blob."""
    return [
        tensor.data
        if isinstance(tensor.data, bytes)
        else model.blobs.get(tensor.data.sha256, bytes(tensor.data.size_bytes))
        for tensor in graph.tensors
    ]


def assert_agreement(data: bytes, model: BuiltModel) -> bool:
    graph = python_reads(data)
    assert native_reads(data) == (graph is not None)
    if graph is None or sum(a.elements for a in graph.activations) > 1 << 22:
        return False
    payloads = payloads_of(graph, model)
    loads = python_loads(graph, payloads)
    assert native_loads(data, payloads) == loads
    return loads


@pytest.mark.parametrize("model", SOURCES)
def test_both_accept_valid_models(model: BuiltModel) -> None:
    assert assert_agreement(model.data, model)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_mutated_bytes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    model = SOURCES[int(rng.integers(len(SOURCES)))]
    assert_agreement(mutate_bytes(model.data, rng), model)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=2500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_mutated_fields(seed: int) -> None:
    rng = np.random.default_rng(seed)
    model = SOURCES[int(rng.integers(len(SOURCES)))]
    assert_agreement(mutate_fields(model.data, rng), model)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=300, deadline=None)
def test_mutated_payloads(seed: int) -> None:
    rng = np.random.default_rng(seed)
    model = SOURCES[int(rng.integers(len(SOURCES)))]
    graph = parse_model(model.data)
    payloads = payloads_of(graph, model)
    for index in rng.integers(0, len(payloads), 2):
        if model.message().tensors[index].HasField("blob"):
            payloads[index] = mutate_bytes(payloads[index], rng)
    assert native_loads(model.data, payloads) == python_loads(graph, payloads)


@pytest.mark.slow
@pytest.mark.parametrize("mutate", [mutate_bytes, mutate_fields])
def test_many_mutations(mutate) -> None:
    rng = np.random.default_rng(99)
    for _ in range(50_000):
        model = SOURCES[int(rng.integers(len(SOURCES)))]
        assert_agreement(mutate(model.data, rng), model)
