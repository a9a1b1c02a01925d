"""Mixed bits: from sensitivities and a budget to the bits of each layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from orchestrator.compression.capture import ir
from orchestrator.compression.errors import BudgetError
from orchestrator.compression.progress import OnProgress
from orchestrator.compression.quantize.allocation import Option, allocate
from orchestrator.compression.quantize.sensitivity import LayerSensitivity, measure_sensitivity
from orchestrator.compression.recipe import Recipe

_LEAST_DEPTHWISE_BITS = 3  # without training, two ruin a depthwise layer


def choose_bits(
    graph: ir.FloatGraph, samples: Tensor, recipe: Recipe, *, on_progress: OnProgress | None = None
) -> Recipe:
    """`recipe` with `layer_bits` for its budget, measured on normalised `samples` [N, C, H, W].

    Raises:
        BudgetError: not even the fewest bits fit; the message names what does.
    """
    return with_bits(recipe, measure_sensitivity(graph, samples, recipe, on_progress=on_progress))


def with_bits(recipe: Recipe, layers: Sequence[LayerSensitivity]) -> Recipe:
    """`recipe` with the bits of each layer that its budget allows at the least divergence; pure."""
    try:
        chosen = allocate([_options(layer, recipe) for layer in layers], _budget(recipe, layers)).options
    except BudgetError as error:
        raise BudgetError(_words(recipe, layers, error.least), least=error.least) from error
    bits = tuple((layer.operator, option.bits) for layer, option in zip(layers, chosen, strict=True))
    return replace(recipe, layer_bits=bits)


def mean_bits(recipe: Recipe, layers: Sequence[LayerSensitivity]) -> float:
    """Bits per weight that `recipe` gives on average."""
    return sum(layer.weights * recipe.bits_of(layer.operator) for layer in layers) / _weights(layers)


def _options(layer: LayerSensitivity, recipe: Recipe) -> list[Option]:
    least = _LEAST_DEPTHWISE_BITS if layer.depthwise and recipe.training is None else 0
    return [
        Option(bits, layer.packed_bytes(bits) if recipe.mean_bits is None else layer.weights * bits, cost)
        for bits, cost in layer.divergence.items()
        if bits >= least
    ]


def _budget(recipe: Recipe, layers: Sequence[LayerSensitivity]) -> int:
    if recipe.mean_bits is not None:
        return math.floor(recipe.mean_bits * _weights(layers) + 1e-6)
    assert recipe.weight_bytes is not None
    return recipe.weight_bytes


def _words(recipe: Recipe, layers: Sequence[LayerSensitivity], least: int) -> str:
    if recipe.mean_bits is not None:
        nearest = math.ceil(least / _weights(layers) * 100) / 100
        return f"mean_bits {recipe.mean_bits:g} cannot be had here without training; the nearest that can is {nearest}"
    return f"weight_bytes {recipe.weight_bytes} cannot be had here; the nearest that can is {least}"


def _weights(layers: Sequence[LayerSensitivity]) -> int:
    return sum(layer.weights for layer in layers)
