"""Profiling runs the same operators: every one has a time, together they take about what a whole call takes."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.errors import InputError
from edge_agent.runtime import available_paths, load_model
from edge_agent.runtime.graph import Flatten
from orchestrator.search.latency import LatencyTable, MissingEntryError, signatures
from orchestrator.search.timing import time_operators
from tests.models import resnet8

pytestmark = pytest.mark.kernels


def engine_on(path: str):
    built = resnet8()
    return load_model(built.data, lambda sha256: built.blobs[sha256.hex()], path=path)


@pytest.mark.parametrize("path", available_paths())
def test_every_operator_that_computes_takes_time_and_the_rest_takes_none(path: str) -> None:
    engine = engine_on(path)
    x = bytes(engine.graph.input_activation.elements)
    before = engine.infer_raw(x)
    ns = engine.profile(x, raw=True)
    assert len(ns) == 1 + len(engine.graph.operators)
    for operator, took in zip(engine.graph.operators, ns[1:], strict=True):
        assert took > 0 or isinstance(operator.kind, Flatten), operator.name
    assert engine.infer_raw(x) == before


@pytest.mark.parametrize("path", available_paths())
def test_an_input_of_another_size_is_refused(path: str) -> None:
    with pytest.raises(InputError):
        engine_on(path).profile(b"\0\0", raw=True)


def test_a_table_made_of_a_model_predicts_that_model_exactly_and_does_not_guess_at_strangers() -> None:
    engine = engine_on(available_paths()[0])
    rng = np.random.default_rng(0)
    elements = engine.graph.input_activation.elements
    times = time_operators(engine, [rng.bytes(elements) for _ in range(4)], runs=30)
    table = LatencyTable.of([times])
    assert table.predict_us(signatures(engine.graph)) == pytest.approx(times.whole_us)
    assert all(lap_us >= 0 for lap_us in times.laps_us)
    with pytest.raises(MissingEntryError):
        table.predict_us(("Conv2D 1x1x1 -> 1x1x1",))
