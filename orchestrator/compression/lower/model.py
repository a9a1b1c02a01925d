"""Writes `model.proto` from a quantized graph. Nothing is decided here: every number was fixed by quantization.

The bytes are canonical (docs/format.md, section 1), so equal parameters give equal bytes and one digest.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from orchestrator.compression.capture import ir
from orchestrator.compression.data import Preprocessing
from orchestrator.compression.errors import QuantizationError
from orchestrator.compression.lower import layout
from orchestrator.compression.lower.tensors import TensorTable
from orchestrator.compression.quantize import plan as plans
from orchestrator.compression.quantize.grid import QMAX, QMIN, Grid
from orchestrator.compression.quantize.sequential import QuantizedGraph
from protos import model_pb2 as pb

FORMAT_VERSION = 1
_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def lower(
    quantized: QuantizedGraph, *, name: str, preprocessing: Preprocessing, labels: tuple[str, ...]
) -> tuple[pb.Model, dict[bytes, bytes]]:
    """The model, golden vectors still missing, and the blobs its tensors refer to.

    Raises:
        CaptureError: the layout of a flattened feature map cannot be hidden from the output.
        QuantizationError: the name or the labels do not fit the model.
    """
    if not _MODEL_NAME.fullmatch(name):
        raise QuantizationError(f"a model's name is 1 to 128 of A-Z a-z 0-9 . _ -, found {name!r}")
    outputs = quantized.graph.shapes[quantized.graph.output]
    if labels and len(labels) != outputs[0]:
        raise QuantizationError(f"the network has {outputs[0]} outputs, the data {len(labels)} labels")
    return _Lowering(quantized).run(name, preprocessing, labels)


def serialise(model: pb.Model) -> bytes:
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def raw_table(preprocessing: Preprocessing, grid: Grid) -> npt.NDArray[np.int8]:
    """The grid point of each of the 256 pixel values: int8 [C, 256]."""
    points = np.round(preprocessing.table() / grid.scale) + grid.zero_point
    return np.clip(points, QMIN, QMAX).astype(np.int8)


class _Lowering:
    def __init__(self, quantized: QuantizedGraph) -> None:
        self.quantized, self.graph = quantized, quantized.graph
        self.orders = layout.feature_orders(self.graph)
        self.table = TensorTable()
        names = [self.graph.input, *(node.output for node in self.graph.nodes)]
        self.index = {name: position for position, name in enumerate(names)}
        self.names = ir.operator_names(self.graph)

    def run(
        self, name: str, preprocessing: Preprocessing, labels: tuple[str, ...]
    ) -> tuple[pb.Model, dict[bytes, bytes]]:
        operators = [self.operator(node) for node in self.graph.nodes]
        model = pb.Model(
            format_version=FORMAT_VERSION,
            name=name,
            input=self.input(preprocessing, self.quantized.grids[self.graph.input]),
            output=pb.Output(activation=self.index[self.graph.output], labels=labels),
            activations=[self.activation(value) for value in self.index],
            tensors=self.table.tensors,
            operators=operators,
        )
        return model, self.table.blobs

    def input(self, preprocessing: Preprocessing, grid: Grid) -> pb.Input:
        pixels, features = raw_table(preprocessing, grid), preprocessing.features
        if features is None:
            table = self.table.add("input.raw_table", pixels)
            return pb.Input(activation=0, raw_table=table, multiplier=1 / grid.scale)
        if not (pixels == np.arange(-128, 128)).all():
            raise QuantizationError("the steps of a table's features are not those of the input; see datasets.Table")
        table = self.table.add("input.raw_table", pixels[:1])
        affine = self.table.add("input.channel_affine", np.stack([features.offset, features.multiplier]))
        return pb.Input(activation=0, raw_table=table, multiplier=1.0, channel_affine=affine)

    def activation(self, value: str) -> pb.Activation:
        grid = self.quantized.grids[value]
        return pb.Activation(
            name=value,
            dtype=pb.INT8,
            shape=layout.device_shape(self.graph.shapes[value]),
            scale=grid.scale,
            zero_point=grid.zero_point,
        )

    def operator(self, node: ir.Node) -> pb.Operator:
        operator = pb.Operator(
            name=self.names[node.name],
            inputs=[self.index[value] for value in node.inputs],
            output=self.index[node.output],
        )
        match self.quantized.plans[node.name]:
            case plans.WeightedPlan() as plan:
                self.weighted(operator, node, plan)
            case plans.AddPlan() as plan:
                form = self.requantize(operator.name, plan.requantize)
                a, b = plan.multipliers
                operator.add.CopyFrom(pb.Add(multiplier_a=a, multiplier_b=b, requantize=form))
            case plans.ConcatPlan() as plan:
                forms = [self.requantize(f"{operator.name}.{n}", form) for n, form in enumerate(plan.requantize)]
                operator.concat.CopyFrom(pb.Concat(requantize=forms))
            case plans.AveragePoolPlan() as plan:
                self.average_pool(operator, plan)
            case plans.MaxPoolPlan() as plan:
                operator.max_pool.CopyFrom(_max_pool(plan.node))
            case plans.FlattenPlan():
                operator.flatten.SetInParent()
            case plans.MovePlan() as plan:
                _move(operator, plan.node, len(self.graph.shapes[node.output]))
            case plans.MatMulPlan() as plan:
                operator.matmul.CopyFrom(_matmul(plan.node, self.requantize(operator.name, plan.requantize)))
            case plans.LayerNormPlan() as plan:
                self.layer_norm(operator, node, plan)
            case plans.MultiplyPlan() as plan:
                operator.multiply.CopyFrom(pb.Multiply(requantize=self.requantize(operator.name, plan.requantize)))
            case plans.ConstantPlan() as plan:
                operator.constant.value = self.table.add(f"{operator.name}.value", _device_constant(plan.value))
                operator.constant.SetInParent()
            case plans.ClampPlan() as plan:
                operator.clamp.CopyFrom(pb.Clamp(qmin=plan.qmin, qmax=plan.qmax))
            case plans.TablePlan() as plan:
                operator.table.CopyFrom(pb.Table(table=self.table.add(f"{operator.name}.table", plan.table)))
            case plans.SoftmaxPlan() as plan:
                operator.softmax.CopyFrom(pb.Softmax(table=self.table.add(f"{operator.name}.table", plan.table)))
        return operator

    def weighted(self, operator: pb.Operator, node: ir.Node, plan: plans.WeightedPlan) -> None:
        name, bits = operator.name, plan.weight_bits
        if isinstance(node, ir.Conv):
            kind = operator.conv2d
            weight = layout.conv_weight(plan.weight)
            kind.weight = self.table.add_weight(f"{name}.weight", weight, bits, may_be_sparse=node.groups == 1)
            kind.stride_h, kind.stride_w = node.stride
            kind.padding.CopyFrom(_padding(node.padding))
            kind.groups = node.groups
        else:
            kind = operator.linear
            order = self.orders[node.inputs[0]]
            kind.weight = self.table.add_weight(f"{name}.weight", layout.linear_weight(plan.weight, order), bits)
        if plan.bias.any():
            kind.bias = self.table.add(f"{name}.bias", plan.bias.astype(np.int32))
        kind.requantize.CopyFrom(self.requantize(name, plan.requantize))

    def layer_norm(self, operator: pb.Operator, node: ir.Node, plan: plans.LayerNormPlan) -> None:
        name, kind = operator.name, operator.layer_norm
        order = self.orders.get(node.output, np.arange(len(plan.gain)))
        kind.gain = self.table.add(f"{name}.gain", plan.gain[order].astype(np.int8))
        if plan.bias.any():
            kind.bias = self.table.add(f"{name}.bias", plan.bias[order].astype(np.int32))
        kind.epsilon = plan.epsilon
        kind.requantize.CopyFrom(self.requantize(name, plan.requantize.permuted(order)))

    def average_pool(self, operator: pb.Operator, plan: plans.AveragePoolPlan) -> None:
        node = plan.node
        operator.average_pool.CopyFrom(
            pb.AveragePool(
                kernel_h=node.kernel[0],
                kernel_w=node.kernel[1],
                stride_h=node.stride[0],
                stride_w=node.stride[1],
                padding=_padding(node.padding),
                reciprocal=plan.reciprocal,
                requantize=self.requantize(operator.name, plan.requantize),
            )
        )

    def requantize(self, name: str, form: plans.Requantize) -> pb.Requantize:
        message = pb.Requantize(qmin=form.qmin, qmax=form.qmax)
        if form.multipliers is not None:
            message.multiplier = self.table.add(f"{name}.multiplier", _shared(form.multipliers))
        else:
            assert form.shifts is not None
            message.shift = self.table.add(f"{name}.shift", _shared(form.shifts.astype(np.int8)))
        return message


def _move(operator: pb.Operator, node: ir.Reshape | ir.Permute, rank: int) -> None:
    if isinstance(node, ir.Permute):
        operator.permute.axes.extend(node.axes)
    elif rank == 1:
        operator.flatten.SetInParent()
    else:
        operator.reshape.SetInParent()


def _matmul(node: ir.MatMul, requantize: pb.Requantize) -> pb.MatMul:
    return pb.MatMul(
        heads=node.heads,
        a_stacked=node.a_stacked,
        b_stacked=node.b_stacked,
        b_transposed=node.b_transposed,
        output_stacked=node.output_stacked,
        requantize=requantize,
    )


def _device_constant(value: Tensor) -> npt.NDArray[np.int8]:
    """[1, C, H, W] as [H, W, C]; [1, F] as [F]."""
    values = value[0].numpy().astype(np.int8)
    return values.transpose(1, 2, 0) if values.ndim == 3 else values


def _shared(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """One entry where all channels have the same."""
    return values[:1] if len(set(values.tolist())) == 1 else values


def _max_pool(node: ir.MaxPool) -> pb.MaxPool:
    return pb.MaxPool(
        kernel_h=node.kernel[0],
        kernel_w=node.kernel[1],
        stride_h=node.stride[0],
        stride_w=node.stride[1],
        padding=_padding(node.padding),
    )


def _padding(pads: ir.Pads) -> pb.Padding:
    top, bottom, left, right = pads
    return pb.Padding(top=top, bottom=bottom, left=left, right=right)
