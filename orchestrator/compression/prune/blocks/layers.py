"""The layers that can be sparse, as the device stores them: rows of blocks of `rows` outputs by four inputs of a tap.

Shape letters: O outputs of a layer, K inputs of a row in the device's order (KH, KW, I), B rows of blocks, R outputs of
a block, J blocks of a row, Q = 4 inputs of a block.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from orchestrator.compression.capture import ir
from orchestrator.compression.lower.layout import feature_orders
from orchestrator.compression.quantize.statistics import MAX_ROW_INPUTS

COLUMNS = 4
GRAINS = (4, 8, 16)
WIDE = 128  # outputs from which on larger grains lose little: fewer and longer runs for the kernels


@dataclass(frozen=True, eq=False)
class BlockLayer:
    """A convolution or linear layer whose weights can be kept in blocks.

    Attributes:
        rows: R.
        order: int64 [K]; the device's input i of a row is torch's order[i] of the flattened weight.
        block_macs: multiplications that one block costs for one sample.
    """

    node: ir.Weighted
    rows: int
    order: Tensor
    block_macs: int

    @property
    def blocks(self) -> int:
        return self.rows_of_blocks * self.blocks_per_row

    @property
    def rows_of_blocks(self) -> int:
        return math.ceil(self.node.weight.shape[0] / self.rows)

    @property
    def blocks_per_row(self) -> int:
        return len(self.order) // COLUMNS

    def to_rows(self, weight: Tensor) -> Tensor:
        """Torch's layout to [B, R, K]; outputs that fill up the last row are 0."""
        flat_OK = weight.reshape(len(weight), -1)[:, self.order]
        missing = self.rows_of_blocks * self.rows - len(weight)
        filled = torch.cat([flat_OK, flat_OK.new_zeros(missing, flat_OK.shape[1])])
        return filled.view(self.rows_of_blocks, self.rows, -1)

    def from_rows(self, weight_BRK: Tensor) -> Tensor:
        """[B, R, K] to torch's layout."""
        shape = self.node.weight.shape
        flat_OK = torch.empty(shape[0], len(self.order), dtype=weight_BRK.dtype)
        flat_OK[:, self.order] = weight_BRK.reshape(-1, len(self.order))[: shape[0]]
        return flat_OK.view(shape)

    def mask(self, kept_BJ: Tensor) -> Tensor:
        """bool [B, J] to bool in torch's layout."""
        kept_BRK = kept_BJ.repeat_interleave(COLUMNS, dim=1).unsqueeze(1).expand(-1, self.rows, -1)
        return self.from_rows(kept_BRK)


def block_layers(graph: ir.FloatGraph, *, block_rows: int | None) -> list[BlockLayer]:
    """Every layer that the engine can skip blocks of: no groups, inputs a multiple of four, a parameter of its own.

    Args:
        block_rows: R for all of them; None takes 4, and for layers of at least 128 outputs 8, of 256 16.
    """
    orders = feature_orders(graph)
    uses = Counter(node.weight_name for node in graph.nodes if isinstance(node, ir.Weighted))
    layers = []
    for node in graph.nodes:
        if not isinstance(node, ir.Weighted) or not node.weight_name or uses[node.weight_name] > 1:
            continue
        order = _device_order(node, orders.get(node.inputs[0]))
        if order is None or len(order) > MAX_ROW_INPUTS:
            continue
        rows = block_rows or _grain(node.weight.shape[0])
        positions = math.prod(graph.shapes[node.output]) // node.weight.shape[0]
        layers.append(BlockLayer(node, rows, order, rows * COLUMNS * positions))
    return layers


def _grain(outputs: int) -> int:
    return 16 if outputs >= 2 * WIDE else 8 if outputs >= WIDE else 4


def _device_order(node: ir.Weighted, order: np.ndarray[tuple[int], np.dtype[np.int64]] | None) -> Tensor | None:
    inputs = node.weight.shape[1]
    if inputs % COLUMNS or (isinstance(node, ir.Conv) and node.groups > 1):
        return None
    if node.weight.ndim == 2:
        return torch.arange(inputs) if order is None else torch.from_numpy(order.copy())
    return torch.arange(node.weight[0].numel()).view(node.weight.shape[1:]).permute(1, 2, 0).reshape(-1)
