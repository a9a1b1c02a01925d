"""How the loss bends in the weights of each layer that mixes channels: what its inputs and its gradients look like.

To second order, outputs that are off by e make the loss 1/2 tr(G E[e e^T]) larger, with G = E[g g^T], g the gradient of
the loss to the layer's outputs, summed over positions; and weights that are off by D make outputs that are off by D x.
Gradients and inputs are taken to be independent: Martens & Grosse 2015 (K-FAC), arXiv:1503.05671; Grosse & Martens
2016 for convolutions, arXiv:1602.01407.

Without labels, the loss is that to labels which are drawn from the network's own softmax. G is then the Fisher
information, which says how far the answers move, right or wrong; with true labels it is what is called the empirical
one (Kunstner et al. 2019, arXiv:1905.12558). Batch norm is in evaluation mode.

Shape letters: N samples, O outputs, K inputs of a row of weights, P patches.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from orchestrator.compression.capture import FloatGraph, ir
from orchestrator.compression.data import Preprocessing, images_to_tensor, labels_to_tensor, require_classes
from orchestrator.compression.errors import PruningError
from orchestrator.compression.quantize.statistics import MAX_ROW_INPUTS, patches_of
from orchestrator.datasets.splits import Split

SAMPLES = 768
_BATCH_SIZE = 32
_MAX_PATCHES = 2048  # of a batch
_MAX_VALUES = 1 << 21  # of these patches: products of very wide layers would take minutes


class Importance(StrEnum):
    """Whose loss it is that a channel must not change."""

    LABELS = "labels"
    ANSWERS = "answers"  # to the network's own; reads no labels


@dataclass(eq=False)
class Curvature:
    """Of one layer. Inputs are without their mean where a bias or a batch norm takes care of it.

    `covariance` is [K, K], or [K] of each input alone where a layer has more than `MAX_ROW_INPUTS`.
    """

    covariance: Tensor
    gradients_OO: Tensor  # noqa: N815 (shape letters)


def mixing_layers(graph: FloatGraph) -> list[ir.Weighted]:
    """Those whose outputs each read all input channels, with weights of their own."""
    layers = (node for node in graph.nodes if isinstance(node, ir.Weighted) and node.weight_name)
    return [layer for layer in layers if not isinstance(layer, ir.Conv) or layer.groups == 1]


def measure_curvature(
    graph: FloatGraph, split: Split, *, preprocessing: Preprocessing, seed: int, importance: Importance
) -> dict[str, Curvature]:
    """By name of the mixing layer, on a few hundred samples of `split`.

    Raises:
        DataError: a label is none of the network's outputs.
        PruningError: the network's answers or gradients overflow.
    """
    graph = graph.in_float32()
    layers = mixing_layers(graph)
    sums = {layer.name: _Sums() for layer in layers}
    order = np.random.default_rng(seed).permutation(len(split))[:SAMPLES]
    generator = torch.Generator().manual_seed(seed)
    for indices in np.array_split(order, max(len(order) // _BATCH_SIZE, 1)):
        values = _run(graph, images_to_tensor(split.inputs[indices], preprocessing))
        logits = values[graph.output]
        _require_finite(logits)
        if importance is Importance.LABELS:
            labels = labels_to_tensor(split.labels[indices])
            require_classes(labels, logits.shape[1])
        else:
            labels = torch.multinomial(logits.detach().softmax(dim=1), 1, generator=generator)[:, 0]
        loss = functional.cross_entropy(logits, labels, reduction="sum")
        outputs = [values[layer.output] for layer in layers]
        for layer, gradient in zip(layers, torch.autograd.grad(loss, outputs, materialize_grads=True), strict=True):
            sums[layer.name].add(layer, values[layer.inputs[0]].detach(), gradient)
    normed = {node.inputs[0] for node in graph.nodes if isinstance(node, ir.BatchNorm)}
    return {
        layer.name: sums[layer.name].mean(len(order), has_free_mean=bool(layer.bias_name) or layer.output in normed)
        for layer in layers
    }


def _run(graph: FloatGraph, images: Tensor) -> dict[str, Tensor]:
    """All feature maps of a batch, with what their gradients need."""
    values = {graph.input: images.requires_grad_()}
    for node in graph.nodes:
        output = node.compute(*(values[name] for name in node.inputs))
        values[node.output] = output if output.requires_grad else output.detach().requires_grad_()  # of constants
    return values


@dataclass(eq=False)
class _Sums:
    """Over batches; 0 stands for zeros of any shape."""

    squares: Tensor | float = 0.0  # as `Curvature.covariance`
    inputs_K: Tensor | float = 0.0  # noqa: N815
    gradients_OO: Tensor | float = 0.0  # noqa: N815
    patches: int = 0

    def add(self, layer: ir.Weighted, x: Tensor, gradient: Tensor) -> None:
        """Inputs [N, C, H, W] (or [N, F]) and the gradient to the outputs of as many samples."""
        row_inputs = layer.weight[0].numel()
        count = min(max(_MAX_VALUES // row_inputs, 1), _MAX_PATCHES)
        x_PK = patches_of(layer, x, count)[0].to(torch.float64)
        gradient_OP = gradient.transpose(0, 1).flatten(1).to(torch.float64)
        self.squares += x_PK.mT @ x_PK if row_inputs <= MAX_ROW_INPUTS else (x_PK**2).sum(dim=0)
        self.inputs_K += x_PK.sum(dim=0)
        self.gradients_OO += gradient_OP @ gradient_OP.mT
        self.patches += len(x_PK)

    def mean(self, samples: int, *, has_free_mean: bool) -> Curvature:
        covariance, mean_K = torch.as_tensor(self.squares / self.patches), torch.as_tensor(self.inputs_K / self.patches)
        if has_free_mean:
            covariance = covariance - (mean_K**2 if covariance.ndim == 1 else torch.outer(mean_K, mean_K))
        gradients_OO = torch.as_tensor(self.gradients_OO / samples)
        _require_finite(covariance, gradients_OO)
        return Curvature(covariance, gradients_OO)


def _require_finite(*tensors: Tensor) -> None:
    if not all(tensor.isfinite().all() for tensor in tensors):
        raise PruningError("the importance of channels is not finite: the network's answers or gradients overflow")
