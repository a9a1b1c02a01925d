"""What each layer takes while it is dense, by the engine that devices run, on this machine.

Only the proportions count: sparsity is asked for as a share of the whole.
"""

from __future__ import annotations

from torch import nn

from edge_agent.runtime.graph import Conv2D, Linear
from edge_agent.runtime.profiling import PROFILED_RUNS, median_laps_us
from orchestrator.compression.data import Preprocessing
from orchestrator.compression.pipeline import build
from orchestrator.compression.quantize.network import quantize_network
from orchestrator.compression.recipe import Recipe, Rounding
from orchestrator.datasets.splits import Split

_SAMPLES = 16  # grids do not matter to the time


def dense_latencies_us(model: nn.Module, split: Split, *, preprocessing: Preprocessing) -> dict[str, float]:
    """Medians in microseconds with 8-bit weights, by the path of the layer's weight."""
    samples = split.take(slice(0, _SAMPLES))
    quantized = quantize_network(model, samples, Recipe(rounding=Rounding.NEAREST), preprocessing=preprocessing)
    engine = build(quantized, samples, name="timing", preprocessing=preprocessing, labels=()).load()
    inputs = [(True, image.tobytes()) for image in samples.inputs]
    laps_us = median_laps_us(engine, inputs, PROFILED_RUNS)[1:]  # the first is the input's preparation
    return {
        engine.graph.tensors[operator.kind.weight].name: lap
        for operator, lap in zip(engine.graph.operators, laps_us, strict=True)
        if isinstance(operator.kind, (Conv2D, Linear))
    }
