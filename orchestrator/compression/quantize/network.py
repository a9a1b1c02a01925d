"""From a user's network to its quantized graph: captured, and calibrated on samples as a device reads them."""

from __future__ import annotations

from torch import nn

from orchestrator.compression.capture import capture
from orchestrator.compression.data import Preprocessing, images_to_tensor, require_samples
from orchestrator.compression.progress import OnProgress
from orchestrator.compression.quantize.sequential import QuantizedGraph, quantize
from orchestrator.compression.recipe import Recipe
from orchestrator.datasets.splits import Split


def quantize_network(
    model: nn.Module,
    calibrate: Split,
    recipe: Recipe,
    *,
    preprocessing: Preprocessing,
    on_progress: OnProgress | None = None,
) -> QuantizedGraph:
    """Capture and quantize; the result can be simulated, built into a model, or be where training begins."""
    require_samples(calibrate, what="calibration")
    height, width, channels = calibrate.sample_shape
    graph = capture(model, (channels, height, width))
    samples = images_to_tensor(calibrate.inputs[: recipe.calibration_count], preprocessing)
    pixels = preprocessing.table()
    input_range = (float(pixels.min()), float(pixels.max()))
    return quantize(graph, samples, recipe, input_range=input_range, on_progress=on_progress)
