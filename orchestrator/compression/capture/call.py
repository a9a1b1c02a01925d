"""One exported operation while it is captured: its arguments by name, its operands as views, and where nodes go."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor, fx

from orchestrator.compression.capture import ir
from orchestrator.compression.capture.emitter import Emitter
from orchestrator.compression.capture.source import refuse
from orchestrator.compression.capture.views import Shape, View


@dataclass(frozen=True)
class ConstantValue:
    """A tensor known before any input is; `name` is its path in the user's module, empty where it was computed."""

    tensor: Tensor
    name: str


Part = ConstantValue | View
Value = Part | tuple[Part, ...]


class Call:
    """Arguments by name, defaults filled in."""

    def __init__(self, node: fx.Node, values: Mapping[fx.Node, Value], emitter: Emitter) -> None:
        self.node, self.values, self.emitter = node, values, emitter
        target: Any = node.target
        self.arguments: dict[str, Any] = {}
        for position, argument in enumerate(target._schema.arguments):
            if position < len(node.args):
                self.arguments[argument.name] = node.args[position]
            else:
                self.arguments[argument.name] = node.kwargs.get(argument.name, argument.default_value)

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def refuse(self, why: str) -> NoReturn:
        raise refuse(self.node, why)

    def require(self, condition: bool, why: str) -> None:
        if not condition:
            self.refuse(why)

    @property
    def shape(self) -> Shape:
        """torch's shape of the result, the first if there are several, batch included."""
        value = self.node.meta.get("val")
        value = value[0] if isinstance(value, tuple) else value
        if not isinstance(value, Tensor):
            self.refuse("does not make one tensor")
        return tuple(int(size) for size in value.shape)

    @property
    def input(self) -> View:
        return self.view(self.node.args[0])

    def view(self, operand: Any) -> View:
        value = self.values.get(operand) if isinstance(operand, fx.Node) else None
        if not isinstance(value, View):
            self.refuse("mixes a feature map with a constant in a way that has no operator")
        return value

    def constant_of(self, operand: Any) -> Tensor | None:
        """The value of a number or a constant tensor in float64; None for a feature map."""
        if isinstance(operand, int | float):
            return torch.tensor(operand, dtype=torch.float64)
        value = self.values.get(operand)
        return value.tensor.to(torch.float64) if isinstance(value, ConstantValue) else None

    def constant(self, name: str) -> ConstantValue | None:
        operand = self[name]
        if operand is None:
            return None
        value = self.values[operand]
        if not isinstance(value, ConstantValue):
            self.refuse(f"has a {name} that depends on the input")
        return value

    def axis(self, name: str = "dim") -> int:
        return int(self[name]) % len(self.input.dims)

    # Layouts

    def image(self, operand: Any = None) -> str:
        """The feature map of [N, C, H, W], or of [N, C, L] with height 1."""
        view = self.input if operand is None else self.view(operand)
        if len(view.dims) == 4:
            _, channels, height, width = view.shape
            return self.emitter.arrange(view, (2, 3, 1), (channels, height, width))
        self.require(len(view.dims) == 3, f"takes [N, C, H, W] or [N, C, L], found {list(view.shape)}")
        _, channels, length = view.shape
        return self.emitter.arrange(view, (2, 1), (channels, 1, length))

    def image_view(self, name: str) -> View:
        """A feature map as [N, C, H, W], or as [N, C, L] where the operation's result is that."""
        view = self.emitter.standard(name)
        return view if len(self.shape) == 4 else View(name, (view.dims[0], view.dims[1], view.dims[3]))

    # Nodes

    def emit(self, kind: Callable[..., ir.Node], inputs: list[str], shape: Shape, **fields: Any) -> str:
        """Add a node named after the operation; returns the name of its output."""
        name = self.emitter.fresh(self.node.name)
        return self.emitter.add(kind(name=name, inputs=inputs, output=name, **fields), shape)

    def emit_image(self, kind: Callable[..., ir.Node], inputs: list[str], **fields: Any) -> View:
        """A node whose output is what torch says the operation's is."""
        _, channels, *size = self.shape
        height, width = size if len(size) == 2 else (1, size[0])
        return self.image_view(self.emit(kind, inputs, (channels, height, width), **fields))

    def emit_elementwise(self, kind: Callable[..., ir.Node], view: View, **fields: Any) -> View:
        """A node that treats each element alone: whatever the view, it stays."""
        return view.renamed(self.emit(kind, [view.name], self.emitter.shapes[view.name], **fields))
