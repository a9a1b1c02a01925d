"""Torch keeps feature maps as [C, H, W], devices as [H, W, C]: nobody notices until something is flattened.

From a flatten on, a flat feature map holds torch's features in another order. The order travels with it until a linear
layer takes it in, by having its columns permuted. An order is an int array: the device's feature i is torch's order[i].
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from orchestrator.compression.capture import ir
from orchestrator.compression.errors import CaptureError

Order = npt.NDArray[np.int64]


def feature_orders(graph: ir.FloatGraph) -> dict[str, Order]:
    """The order of every flat feature map.

    Raises:
        CaptureError: two orders meet in an addition, or the output would come in another order than torch's.
    """
    orders: dict[str, Order] = {}
    for node in graph.nodes:
        shape = graph.shapes[node.output]
        if len(shape) != 1:
            if isinstance(node, ir.Reshape):
                _require_identity(orders.get(node.inputs[0]), node)
            continue
        identity = np.arange(shape[0])
        match node:
            case ir.Flatten():
                source = graph.shapes[node.inputs[0]]
                orders[node.output] = identity.reshape(source).transpose(1, 2, 0).reshape(-1)
            case ir.Linear() | ir.Constant():
                orders[node.output] = identity
            case ir.Reshape():  # of storage, so the device's order is torch's
                _require_identity(orders.get(node.inputs[0]), node)
                orders[node.output] = identity
            case ir.Concat():
                orders[node.output] = _concatenated([orders[name] for name in node.inputs])
            case _:
                first = orders[node.inputs[0]]
                if any(not np.array_equal(orders[name], first) for name in node.inputs):
                    raise CaptureError(
                        f"{node.name} combines feature maps that were flattened differently", source=node.source
                    )
                orders[node.output] = first
    output = orders.get(graph.output)
    if output is not None and not np.array_equal(output, np.arange(len(output))):
        raise CaptureError("the network's output is a flattened feature map; end with a linear layer or with pooling")
    return orders


def _require_identity(order: Order | None, node: ir.Node) -> None:
    if order is not None and not np.array_equal(order, np.arange(len(order))):
        raise CaptureError(f"{node.name} reshapes a feature map that was flattened by channels", source=node.source)


def device_shape(shape: tuple[int, ...]) -> list[int]:
    """[C, H, W] as [H, W, C]; flat shapes as they are."""
    return [*shape[1:], shape[0]] if len(shape) == 3 else list(shape)


def conv_weight(weight: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """[O, I, KH, KW] as [O, KH, KW, I]."""
    return weight.transpose(0, 2, 3, 1)


def linear_weight(weight: npt.NDArray[np.int64], order: Order) -> npt.NDArray[np.int64]:
    return weight[:, order]


def _concatenated(orders: list[Order]) -> Order:
    starts = np.cumsum([0, *(len(order) for order in orders[:-1])])
    return np.concatenate([order + start for order, start in zip(orders, starts, strict=True)])
