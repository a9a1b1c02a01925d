"""From a user's network to the float graph, by `torch.export`.

Walks the exported graph once. An operation whose inputs are all constants is evaluated on the spot (so weights may be
computed), one that changes nothing disappears, the rest goes to `operators.OPERATORS`; what is not there is refused
with the user's own line. An in-place operation also changes what earlier names of the same feature map mean.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export.graph_signature import InputKind

from orchestrator.compression.capture.ir import FloatGraph, Node
from orchestrator.compression.capture.operators import HINTS, IDENTITIES, OPERATORS, Call, ConstantValue
from orchestrator.compression.capture.source import operation_name, refuse, source_line
from orchestrator.compression.errors import CaptureError

_BATCH = 2  # samples in the example; an operation that mixes them shows in a shape and is refused


def trace(model: nn.Module, input_shape: tuple[int, int, int]) -> FloatGraph:
    """Capture `model`, which takes [N, C, H, W], for one input shape (C, H, W); batch norm is kept apart.

    Raises:
        CaptureError: torch.export fails, or the network does something that no operator of the device can.
    """
    program = _export(model, input_shape)
    constants = _constants(program)
    walker = _Walker()
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in constants:
            walker.values[node] = constants[node.name]
        elif node.op == "placeholder":
            walker.add_input(node)
        elif node.op == "call_function":
            walker.add_call(node)
        elif node.op == "output":
            return walker.finish(node)
        else:
            raise refuse(node, "is not an operation of a feed-forward network")
    raise CaptureError("the exported network has no output")


def _export(model: nn.Module, input_shape: tuple[int, int, int]) -> torch.export.ExportedProgram:
    was_training = model.training
    model.eval()
    try:
        return torch.export.export(model, (torch.zeros(_BATCH, *input_shape),), strict=False)
    except CaptureError:
        raise
    except Exception as error:  # torch.export lets out whatever the network or its own analysis raises
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise CaptureError(
            f"torch.export cannot capture {type(model).__name__} for an input of shape {[_BATCH, *input_shape]}: "
            f"{type(error).__name__}: {reason[0]}"
        ) from error
    finally:
        model.train(was_training)


def _constants(program: torch.export.ExportedProgram) -> dict[str, ConstantValue]:
    """Parameters, buffers and literal tensors by the name of their placeholder."""
    stored: dict[str, Any] = {**program.state_dict, **program.constants}
    constants = {}
    for spec in program.graph_signature.input_specs:
        if spec.kind is not InputKind.USER_INPUT and spec.target is not None and spec.target in stored:
            tensor = stored[spec.target].detach()
            tensor = tensor.to(torch.float64) if tensor.is_floating_point() else tensor
            constants[spec.arg.name] = ConstantValue(tensor, spec.target)
    return constants


class _Walker:
    """`values` says what each exported node stands for: a constant, or the name of a feature map."""

    def __init__(self) -> None:
        self.values: dict[fx.Node, ConstantValue | str] = {}
        self.nodes: list[Node] = []
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.input = ""

    def add_input(self, node: fx.Node) -> None:
        if self.input:
            raise refuse(node, "is a second input; a network takes one tensor of images")
        self.input = node.name
        self.values[node] = node.name
        self.shapes[node.name] = _shape(node)

    def add_call(self, node: fx.Node) -> None:
        operands = node.all_input_nodes
        if all(isinstance(self.values[operand], ConstantValue) for operand in operands):
            self.values[node] = self.evaluate(node)
            return
        name = operation_name(node)
        call = Call(node, self.values, self.shapes, _shape(node))
        if name in IDENTITIES:
            self.values[node] = call.feature_map(node.args[0])
            return
        if name not in OPERATORS:
            hint = f": {HINTS[name]}" if name in HINTS else ""
            raise refuse(node, f"is not supported on devices{hint}")
        made = OPERATORS[name](call)
        if isinstance(made, str):  # an identity for this shape
            self.values[node] = made
            return
        for new in made if isinstance(made, list) else [made]:
            new.source = source_line(node)
            self.nodes.append(new)
        output = self.nodes[-1].output
        self.shapes[output] = call.shape
        if _writes_in_place(node):
            self.rebind(call.feature_map(node.args[0]), output)
        self.values[node] = output

    def rebind(self, before: str, after: str) -> None:
        for node, value in self.values.items():
            if value == before:
                self.values[node] = after

    def evaluate(self, node: fx.Node) -> ConstantValue:
        def constant(operand: fx.Node) -> Tensor:
            value = self.values[operand]
            assert isinstance(value, ConstantValue)
            return value.tensor

        target: Any = node.target
        result = target(*fx.map_arg(node.args, constant), **fx.map_arg(node.kwargs, constant))
        if not isinstance(result, Tensor):
            raise refuse(node, "does not make a tensor")
        return ConstantValue(result, "")

    def finish(self, node: fx.Node) -> FloatGraph:
        results: Any = node.args[0]
        if len(results) != 1 or not isinstance(results[0], fx.Node):
            raise CaptureError(f"a network returns one tensor, this one returns {len(results)} values")
        output = self.values[results[0]]
        if isinstance(output, ConstantValue) or not self.nodes:
            raise CaptureError("the network's output does not depend on its input, or is the input itself")
        return FloatGraph(input=self.input, output=output, nodes=self.nodes, shapes=self.shapes)


def _writes_in_place(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return bool(schema and schema.is_mutable)


def _shape(node: fx.Node) -> tuple[int, ...]:
    value = node.meta.get("val")
    if not isinstance(value, Tensor) or value.ndim < 2 or value.shape[0] != _BATCH:
        raise refuse(node, "does not keep samples apart: a feature map is [N, C, H, W] or [N, F]")
    return tuple(int(size) for size in value.shape[1:])
