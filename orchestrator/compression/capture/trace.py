"""From a user's network to the float graph, by `torch.export`.

Walks the exported graph once. An operation whose inputs are all constants is evaluated on the spot (so weights may be
computed), one that changes nothing disappears, the rest goes to `operators.OPERATORS`; what is not there is refused
with the user's own line. What is overwritten in place while others may still read it is first told apart by torch's
functionalization. In the end the graph has to answer as the network does.
"""

from __future__ import annotations

import math
import operator
import warnings
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export.graph_signature import InputKind

from orchestrator.compression.capture.call import Call, ConstantValue, Value
from orchestrator.compression.capture.emitter import BATCH, Emitter, Unarrangeable
from orchestrator.compression.capture.ir import FloatGraph
from orchestrator.compression.capture.operators import HINTS, IDENTITIES, OPERATORS
from orchestrator.compression.capture.source import operation_name, raised_at, refuse, source_line
from orchestrator.compression.capture.views import View
from orchestrator.compression.errors import CaptureError
from orchestrator.compression.modes import evaluation_mode

TOLERANCE = 1e-3  # of the largest output: far above float32's rounding, below what another function would differ by


def trace(model: nn.Module, input_shape: tuple[int, int, int]) -> FloatGraph:
    """Capture `model`, which takes [N, C, H, W], for one input shape (C, H, W); batch norm is kept apart.

    Raises:
        CaptureError: torch.export fails, the network does something that no operator of the device can, or what was
            captured does not answer as the network does.
    """
    with evaluation_mode(model):
        program = _export(model, input_shape)
        graph = _walk(program)
        _require_same(graph, model, input_shape)
    return graph


def _walk(program: torch.export.ExportedProgram) -> FloatGraph:
    constants = _constants(program)
    program.graph.eliminate_dead_code()  # averaged attention weights, say, that nobody asked for
    walker = _Walker()
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in constants:
            walker.values[node] = constants[node.name]
        elif node.op == "placeholder":
            walker.add_input(node)
        elif node.op == "call_function":
            walker.add_call(node)
        elif node.op == "output":
            return walker.finish(node, outputs=len(program.graph_signature.user_outputs))
        else:
            raise refuse(node, "is not an operation of a feed-forward network")
    raise CaptureError("the exported network has no output")


def _export(model: nn.Module, input_shape: tuple[int, int, int]) -> torch.export.ExportedProgram:
    try:
        program = torch.export.export(model, (torch.zeros(BATCH, *input_shape),), strict=False)
        if any(_overwrites_what_others_read(node) for node in program.graph.nodes):
            with warnings.catch_warnings(action="ignore", category=FutureWarning):  # of torch, about itself
                program = program.run_decompositions({})
    except CaptureError:
        raise
    except Exception as error:  # torch.export lets out whatever the network or its own analysis raises
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise CaptureError(
            f"torch.export cannot capture {type(model).__name__} for an input of shape {[BATCH, *input_shape]}: "
            f"{type(error).__name__}: {reason[0]}",
            source=raised_at(error, caller=__file__),
        ) from error
    for buffer in program.graph_signature.buffers_to_mutate.values():
        raise CaptureError(f"the network changes its buffer {buffer} as it runs; devices keep nothing between samples")
    return program


def _overwrites_what_others_read(node: fx.Node) -> bool:
    """Whether an in-place operation may change what is read under another name: by a view of it, or what it views."""
    if not _writes_in_place(node):
        return False
    overwritten = node.args[0]
    if not isinstance(overwritten, fx.Node) or overwritten.op != "call_function" or len(overwritten.users) > 1:
        return True
    schema = getattr(overwritten.target, "_schema", None)
    is_view = schema is None or any(result.alias_info is not None for result in schema.returns)
    return is_view and not _writes_in_place(overwritten)


@torch.no_grad()
def _require_same(graph: FloatGraph, model: nn.Module, input_shape: tuple[int, int, int]) -> None:
    """Compare the graph with the network on random images; raise `CaptureError` where they differ."""
    x = torch.randn(BATCH, *input_shape, generator=torch.Generator().manual_seed(0))
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), x.dtype)
    wanted = model(x.to(dtype, copy=True))  # which may be overwritten
    if not isinstance(wanted, Tensor):
        raise CaptureError(f"a network returns one tensor, this one returns a {type(wanted).__name__}")
    if wanted.ndim not in (2, 4):  # tokens; `output_of` says how they lie
        wanted = wanted.flatten(1, -2).mT.unsqueeze(2)
    difference, largest = float((graph.run(x) - wanted).abs().max()), float(wanted.abs().max())
    if difference > max(TOLERANCE, 50 * torch.finfo(dtype).eps) * largest:  # the latter for half precision
        raise CaptureError(
            f"the captured graph does not compute what {type(model).__name__} does: outputs differ by {difference:.3g} "
            f"where the largest is {largest:.3g}"
        )


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
    """`values` says what each exported node stands for: a constant, or a view of a feature map."""

    def __init__(self) -> None:
        self.values: dict[fx.Node, Value] = {}
        self.emitter = Emitter()
        self.input = ""

    def add_input(self, node: fx.Node) -> None:
        if self.input:
            raise refuse(node, "is a second input; a network takes one tensor of images")
        self.input = node.name
        self.emitter.shapes[node.name] = tuple(node.meta["val"].shape[1:])
        self.values[node] = self.emitter.standard(node.name)

    def add_call(self, node: fx.Node) -> None:
        if node.target is operator.getitem:
            self.values[node] = self.pick(node)
            return
        operands = node.all_input_nodes
        if all(isinstance(self.values[operand], ConstantValue) for operand in operands):
            self.values[node] = self.evaluate(node)
            return
        name = operation_name(node)
        call = Call(node, self.values, self.emitter)
        if name in IDENTITIES:
            is_random = bool(call.arguments.get("train"))
            call.require(not is_random, "drops values at random in evaluation too; pass training=self.training")
            self.values[node] = call.input
            return
        if name not in OPERATORS:
            hint = f": {HINTS[name]}" if name in HINTS else ""
            raise refuse(node, f"is not supported on devices{hint}")
        first_new = len(self.emitter.nodes)
        try:
            result = OPERATORS[name](call)
        except Unarrangeable as reason:
            raise refuse(node, str(reason)) from reason
        for new in self.emitter.nodes[first_new:]:
            new.source = source_line(node)
        self.values[node] = result

    def pick(self, node: fx.Node) -> Value:
        source: Any = node.args[0]
        parts, index = self.values[source], node.args[1]
        if not isinstance(parts, tuple) or not isinstance(index, int):
            raise refuse(node, "takes a part of what is not a list of feature maps")
        if not -len(parts) <= index < len(parts):
            raise refuse(source, f"has a result {index} that devices do not compute")
        return parts[index]

    def evaluate(self, node: fx.Node) -> Value:
        def constant(operand: fx.Node) -> Tensor:
            value = self.values[operand]
            assert isinstance(value, ConstantValue)
            return value.tensor

        target: Any = node.target
        result = target(*fx.map_arg(node.args, constant), **fx.map_arg(node.kwargs, constant))
        if isinstance(result, Tensor):
            return ConstantValue(result, "")
        if isinstance(result, list | tuple) and all(isinstance(part, Tensor) for part in result):
            return tuple(ConstantValue(part, "") for part in result)
        raise refuse(node, "does not make a tensor")

    def finish(self, node: fx.Node, outputs: int) -> FloatGraph:
        written: Any = node.args[0]
        results = written[len(written) - outputs :]  # those before are inputs that were written to
        if len(results) != 1 or not isinstance(results[0], fx.Node):
            raise CaptureError(f"a network returns one tensor, this one returns {len(results)} values")
        output = self.values[results[0]]
        if not isinstance(output, View) or not self.emitter.nodes:
            raise CaptureError("the network's output does not depend on its input, or is the input itself")
        try:
            name = self.output_of(output)
        except Unarrangeable as reason:
            raise refuse(results[0], str(reason)) from reason
        return FloatGraph(input=self.input, output=name, nodes=self.emitter.nodes, shapes=self.emitter.shapes)

    def output_of(self, view: View) -> str:
        """A flat output as it is, images as [C, H, W], tokens [N, T, C] one after the other."""
        if view.shape[0] != BATCH:
            raise Unarrangeable("does not keep samples apart: a feature map is [N, C, H, W] or [N, F]")
        if len(view.dims) == 2:
            return self.emitter.flat(view)
        if len(view.dims) == 4:
            _, channels, height, width = view.shape
            return self.emitter.arrange(view, (2, 3, 1), (channels, height, width))
        features = view.shape[-1]
        axes = range(1, len(view.dims))
        return self.emitter.arrange(view, axes, (features, 1, math.prod(view.shape[1:-1])))


def _writes_in_place(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return bool(schema and schema.is_mutable)
