"""Block sparsity for a whole network: measure, share out, then let what stays make up for what goes, layer by layer.

The walk keeps two versions of every feature map, as it was and as it is with the layers before already sparse. Each
layer is fitted to its old outputs on its new inputs, so errors do not add up. Batch norm gets the mean and the variance
that its input now has: a least squares fit shrinks outputs, and this scales every row back.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor, nn
from torch.nn import functional

from orchestrator.compression.capture import ir, trace
from orchestrator.compression.capture.check import require_finite_module
from orchestrator.compression.data import Preprocessing, images_to_tensor, require_samples
from orchestrator.compression.errors import PruningError
from orchestrator.compression.prune.blocks.allocation import Offer, allocate
from orchestrator.compression.prune.blocks.layers import COLUMNS, GRAINS, BlockLayer, block_layers
from orchestrator.compression.prune.blocks.surgeon import refit, removal_costs
from orchestrator.compression.prune.blocks.timing import dense_latencies_us
from orchestrator.compression.prune.refit import correct_bias, renormalise
from orchestrator.compression.quantize.statistics import MAX_ROW_INPUTS, patches_of
from orchestrator.datasets.splits import Split

CALIBRATION_COUNT = 256
MAX_SHARE = 0.95  # of a row's blocks can go
_PROBE_SHARES = (0.3, 0.6, 0.85)  # of a layer's blocks, at which the harm is measured
_MAX_PATCHES = 1 << 15


class Budget(StrEnum):
    """What a sparsity is a share of."""

    BLOCKS = "blocks"
    MACS = "macs"
    LATENCY = "latency"


@dataclass(frozen=True, eq=False)
class SparseNetwork:
    """`model` with zeros where `masks` (bool, of the parameters' shapes, by their paths) is false."""

    model: nn.Module
    masks: dict[str, Tensor]

    @property
    def sparsity(self) -> float:
        """Share of the masked layers' weights that is zero."""
        weights = sum(mask.numel() for mask in self.masks.values())
        return 1 - sum(int(mask.sum()) for mask in self.masks.values()) / weights


@torch.no_grad()
def prune_blocks(
    model: nn.Module,
    split: Split,
    *,
    preprocessing: Preprocessing,
    sparsity: float,
    block_rows: int | None = None,
    budget: Budget = Budget.BLOCKS,
    latencies_us: Mapping[str, float] | None = None,
) -> SparseNetwork:
    """Return a copy of `model` with `sparsity` of its blocks zero; a few hundred samples are looked at, no labels.

    Args:
        sparsity: share of `budget` over all layers that can be sparse.
        block_rows: outputs of a block, 4, 8 or 16; None chooses by the layer's width.
        latencies_us: for `Budget.LATENCY`, the time of each dense layer by the path of its weight, as a device measured
            it; None measures here. Layers that are missing stay dense.

    Raises:
        PruningError: the sparsity is out of range or cannot be reached, or no layer can be sparse.
        CaptureError, WeightError, DataError: the network cannot be captured or holds NaN; there are no samples.
    """
    work = _Work(model, split, preprocessing, sparsity, block_rows)
    if budget is Budget.LATENCY:
        if latencies_us is None:
            latencies_us = dense_latencies_us(model, split, preprocessing=preprocessing)
        saves = {name: us / layer.blocks for name, layer in work.layers.items() if (us := latencies_us.get(name))}
        if not saves:
            raise PruningError("latencies_us names no layer that can be sparse; keys are paths as 'blocks.0.weight'")
    elif budget is Budget.MACS:
        saves = {name: layer.block_macs for name, layer in work.layers.items()}
    else:
        saves = dict.fromkeys(work.layers, 1.0)
    offers = [work.offer(work.layers[name], saved) for name, saved in saves.items()]
    return work.make_sparse(offers, allocate(offers, sparsity))


@torch.no_grad()
def prune_blocks_by_magnitude(
    model: nn.Module, split: Split, *, preprocessing: Preprocessing, sparsity: float, block_rows: int | None = None
) -> SparseNetwork:
    """The plain way, to compare with: in each layer the blocks of smallest squares go, and nothing makes up for it."""
    work = _Work(model, split, preprocessing, sparsity, block_rows)
    for layer in work.layers.values():
        squares = layer.to_rows(layer.node.weight).view(layer.rows_of_blocks, layer.rows, -1, COLUMNS) ** 2
        magnitude_BJ = squares.sum(dim=(1, 3))
        kept = magnitude_BJ.view(-1).argsort()[round(sparsity * layer.blocks) :]
        kept_BJ = torch.zeros(layer.blocks, dtype=torch.bool).index_fill(0, kept, True).view(magnitude_BJ.shape)
        work.store(layer, layer.node.weight * layer.mask(kept_BJ), kept_BJ)
    return work.sparse


class _Work:
    """A copy of the network, its graph with batch norm apart, and what the calibration samples do in it."""

    def __init__(
        self, model: nn.Module, split: Split, preprocessing: Preprocessing, sparsity: float, block_rows: int | None
    ) -> None:
        if not 0 < sparsity < 1:
            raise PruningError(f"sparsity must be above 0 and below 1, found {sparsity}")
        if block_rows is not None and block_rows not in GRAINS:
            raise PruningError(f"block_rows must be one of {GRAINS}, found {block_rows}")
        require_samples(split, what="pruning")
        require_finite_module(model)
        self.model = copy.deepcopy(model).eval()
        self.sparse = SparseNetwork(self.model, {})
        height, width, channels = split.sample_shape
        self.graph = trace(self.model, (channels, height, width))
        self.layers = {layer.node.weight_name: layer for layer in block_layers(self.graph, block_rows=block_rows)}
        if not self.layers:
            what = f"none without groups has a multiple of four inputs, {MAX_ROW_INPUTS} at most"
            raise PruningError(f"no layer can be sparse: {what}")
        self.samples = images_to_tensor(split.inputs[:CALIBRATION_COUNT], preprocessing).to(torch.float64)
        self.inputs = self._inputs_of_layers()
        self.answers = torch.log_softmax(self.graph.run(self.samples).flatten(1), dim=1)

    def _inputs_of_layers(self) -> dict[str, Tensor]:
        wanted = {layer.node.inputs[0] for layer in self.layers.values()}
        maps = {node.output: output for node, output in self.graph.walk(self.samples) if node.output in wanted}
        return {self.graph.input: self.samples, **maps}

    def offer(self, layer: BlockLayer, saves: float) -> Offer:
        x_PK = _patches(layer, self.inputs[layer.node.inputs[0]])
        hessian = x_PK.mT @ x_PK / len(x_PK)
        weight_BRK = layer.to_rows(layer.node.weight)
        removable = min(round(layer.blocks_per_row * MAX_SHARE), layer.blocks_per_row - 1)
        order, cost = removal_costs(weight_BRK, hessian, removable)
        unweighted = Offer(layer, order, cost, ((1.0, 1.0),), 1.0)
        harms = []
        for share in _PROBE_SHARES:
            kept_BJ = allocate([unweighted], min(share, 0.95 * removable / layer.blocks_per_row))[0]
            fitted = refit(weight_BRK, kept_BJ, hessian, hessian)
            error = float((((fitted - weight_BRK) @ hessian) * (fitted - weight_BRK)).sum())
            harms.append((error, self._harm(layer, fitted)))
        return Offer(layer, order, cost, tuple(harms), saves)

    def _harm(self, layer: BlockLayer, weight_BRK: Tensor) -> float:
        """Divergence of the network's answers from what they were if this layer alone had these weights."""
        dense = layer.node.weight
        layer.node.weight = layer.from_rows(weight_BRK)
        answers = torch.log_softmax(self.graph.run(self.samples).flatten(1), dim=1)
        layer.node.weight = dense
        return float(functional.kl_div(answers, self.answers, reduction="batchmean", log_target=True))

    def make_sparse(self, offers: list[Offer], kept: list[Tensor]) -> SparseNetwork:
        chosen = {offer.layer.node.name: (offer.layer, kept_BJ) for offer, kept_BJ in zip(offers, kept, strict=True)}
        before, now = {self.graph.input: self.samples}, {self.graph.input: self.samples}
        for node, finished in zip(self.graph.nodes, ir.last_reads(self.graph), strict=True):
            before[node.output] = node.compute(*(before[name] for name in node.inputs))
            if node.name in chosen:
                layer, kept_BJ = chosen[node.name]
                self._fit(layer, kept_BJ, before, now)
            elif isinstance(node, ir.BatchNorm):
                renormalise(self.model, node, before[node.inputs[0]], now[node.inputs[0]])
            now[node.output] = node.compute(*(now[name] for name in node.inputs))
            for name in finished:
                del before[name], now[name]
        return self.sparse

    def store(self, layer: BlockLayer, weight: Tensor, kept_BJ: Tensor) -> None:
        """Weight and mask as the module has them: in the graph, linear layers over tokens are convolutions too."""
        name = layer.node.weight_name
        parameter = self.model.get_parameter(name)
        parameter.copy_(weight.view_as(parameter))
        self.sparse.masks[name] = layer.mask(kept_BJ).view_as(parameter)

    def _fit(self, layer: BlockLayer, kept_BJ: Tensor, before: dict[str, Tensor], now: dict[str, Tensor]) -> None:
        node, name = layer.node, layer.node.inputs[0]
        old_PK, new_PK = _patches(layer, before[name]), _patches(layer, now[name])
        hessian, cross = new_PK.mT @ new_PK / len(new_PK), old_PK.mT @ new_PK / len(new_PK)
        fitted = layer.from_rows(refit(layer.to_rows(node.weight), kept_BJ, hessian, cross))
        wanted = node.accumulate(before[name], node.weight, node.bias)
        node.weight = fitted
        self.store(layer, fitted, kept_BJ)
        if node.bias_name:
            correct_bias(self.model, node, now[name], wanted)


def _patches(layer: BlockLayer, x: Tensor) -> Tensor:
    """[P, K] in the device's order."""
    return patches_of(layer.node, x, _MAX_PATCHES)[0][:, layer.order]
