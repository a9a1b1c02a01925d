"""What is refused before it is tried: two-bit weights on depthwise layers that are not trained.

Every published table has them ruined, by 17 points and more even with block reconstruction: MQBench's MobileNetV2 at 2
bits falls from 72.7 to 52.3 (BRECQ) and 40.6 (AdaRound), PD-Quant's from 72.6 to 55.3. A depthwise row has nine weights
and no neighbours to make an error good. A refusal is not the end: it names the nearest plan that the network's own
sensitivities say is feasible.

Pure: the evidence is measured elsewhere (`sensitivity`).
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.compression.capture import ir
from orchestrator.compression.errors import InfeasibleError
from orchestrator.compression.quantize.sensitivity import LayerSensitivity, is_depthwise_filter
from orchestrator.compression.recipe import Recipe

HOPELESS_BITS = 2
TOLERABLE_DIVERGENCE = 0.05
"""Nats by which answers may move on average: on small image classifiers about 1.5 points of accuracy."""


def hopeless_layers(graph: ir.FloatGraph, recipe: Recipe) -> tuple[str, ...]:
    """Names of the layers that `recipe` would ruin."""
    if recipe.training is not None or (recipe.is_mixed and not recipe.layer_bits):
        return ()
    names = ir.operator_names(graph)
    return tuple(
        names[node.name]
        for node in graph.nodes
        if isinstance(node, ir.Weighted)
        and is_depthwise_filter(node)
        and recipe.bits_of(names[node.name]) <= HOPELESS_BITS
    )


def refusal(recipe: Recipe, hopeless: Sequence[str], layers: Sequence[LayerSensitivity]) -> InfeasibleError:
    """The error to raise, with its evidence and the nearest feasible plan."""
    first = ", ".join(hopeless[:3]) + (", ..." if len(hopeless) > 3 else "")
    there = predicted_divergence(layers, recipe)
    return InfeasibleError(
        f"{HOPELESS_BITS}-bit weights without training ruin depthwise convolutions (here {first}), however little it "
        f"looks like on few samples ({there:.3f} nats)",
        nearest=nearest_plan(recipe, layers),
    )


def predicted_divergence(layers: Sequence[LayerSensitivity], recipe: Recipe) -> float:
    """Nats by which answers move when every layer has the bits that `recipe` gives it."""
    return sum(layer.divergence[recipe.bits_of(layer.operator)] for layer in layers)


def nearest_plan(recipe: Recipe, layers: Sequence[LayerSensitivity]) -> str:
    """The fewest bits for all layers that are tolerable and not hopeless; training where none are."""
    measured = set.intersection(*(set(layer.divergence) for layer in layers))
    for bits in sorted(bits for bits in measured if bits > HOPELESS_BITS):
        moved = sum(layer.divergence[bits] for layer in layers)
        if moved <= TOLERABLE_DIVERGENCE:
            return f"weight_bits {bits} ({moved:.3f} nats), or {HOPELESS_BITS} bits with `training`"
    return f"`training` at {min(recipe.weight_bits, *measured)} bits; without it even 8 bits move answers too far"
