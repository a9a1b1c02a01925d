"""Holds a parsed model to the structure of docs/format.md, section 3: indices, order, shapes, sizes, work.

Pure arithmetic on the frozen graph; nothing is allocated here, and no tensor value is read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NoReturn

from edge_agent.errors import ModelFormatError
from edge_agent.runtime import graph as g
from edge_agent.runtime import limits


def check_graph(graph: g.Graph) -> None:
    """Raise `ModelFormatError` at the first rule that the graph breaks."""
    _Checker(graph).run()


_INPUTS = {
    g.Add: 2,
    g.MatMul: 2,
    g.Multiply: 2,
    g.Constant: 0,
    g.Select: 3,
}  # 1 for all others, any number but 0 for Concat


class _Checker:
    """Walks the operators once, remembering which activations are computed and which tensors are used."""

    def __init__(self, graph: g.Graph) -> None:
        self.graph = graph
        self.computed: set[int] = set()
        self.used_tensors: set[int] = set()
        self.work = 0
        self.where = "the model"

    def fail(self, what: str) -> NoReturn:
        raise ModelFormatError(f"{self.where}: {what}")

    def require(self, condition: bool, what: str) -> None:
        if not condition:
            self.fail(what)

    def run(self) -> None:
        graph = self.graph
        self.require(bool(graph.operators), "there is no operator")
        elements = sum(activation.elements for activation in graph.activations)
        payload_bytes = sum(tensor.counted_bytes for tensor in graph.tensors)
        self.require(elements <= limits.ALL_ACTIVATION_ELEMENTS, "the activations are too large")
        self.require(payload_bytes <= limits.ALL_PAYLOAD_BYTES, "the tensors are too large")
        self.check_input()
        names: set[str] = set()
        for operator in graph.operators:
            self.where = f"operator {operator.name!r}"
            self.require(operator.name not in names, "its name is taken")
            names.add(operator.name)
            self.check_operator(operator)
        self.where = "the model"
        self.require(len(self.computed) == len(graph.activations), "an activation is never computed")
        self.require(len(self.used_tensors) == len(graph.tensors), "a tensor is never used")
        self.require(self.work <= limits.WORK, "one inference is more work than the format allows")
        self.check_output()

    def check_input(self) -> None:
        source = self.graph.input
        self.require(source.activation < len(self.graph.activations), "the input is not an activation")
        self.computed.add(source.activation)
        in_range = limits.INPUT_MULTIPLIER_MIN <= source.multiplier <= limits.INPUT_MULTIPLIER_MAX
        self.require(in_range, f"the input multiplier {source.multiplier} is out of range")
        if source.raw_table is not None:
            channels = self.graph.input_activation.channels
            self.use_tensor(source.raw_table, g.DType.INT8, ((channels, 256), (1, 256)), "raw_table")
        if source.channel_affine is not None:
            shape = (2, self.graph.input_activation.channels)
            self.use_tensor(source.channel_affine, g.DType.FLOAT32, [shape], "channel_affine")
            self.require(source.multiplier == 1, "channel_affine goes with the multiplier 1")

    def check_output(self) -> None:
        output = self.graph.output
        self.require(output.activation < len(self.graph.activations), "the output is not an activation")
        self.require(output.activation != self.graph.input.activation, "the output is the input")
        labels = len(output.labels)
        self.require(labels in (0, self.graph.output_activation.channels), f"{labels} labels do not match the output")

    def use_tensor(self, index: int, dtype: g.DType, shapes: Iterable[tuple[int, ...]], what: str) -> g.Tensor:
        self.require(index < len(self.graph.tensors), f"{what} is not a tensor")
        tensor = self.graph.tensors[index]
        shapes = tuple(shapes)
        self.require(tensor.dtype is dtype, f"{what} is {tensor.dtype.name}, not {dtype.name}")
        self.require(tensor.shape in shapes, f"{what} has the shape {tensor.shape}, not {shapes}")
        self.require(tensor.bits == 0 or what == "weight", f"{what} is packed")
        self.require(not tensor.is_block_sparse or what == "weight", f"{what} is block-sparse")
        self.used_tensors.add(index)
        return tensor

    def check_operator(self, operator: g.Operator) -> None:
        for index in operator.inputs:
            self.require(index in self.computed, "it reads what is not computed yet")
        self.require(operator.output < len(self.graph.activations), "its output is not an activation")
        self.require(operator.output not in self.computed, "its output is computed already")
        inputs = [self.graph.activations[index] for index in operator.inputs]
        output = self.graph.activations[operator.output]
        expected_inputs = _INPUTS.get(type(operator.kind), 1)
        takes_any = isinstance(operator.kind, g.Concat) and bool(inputs)
        self.require(takes_any or len(inputs) == expected_inputs, f"it has {len(inputs)} inputs")
        match operator.kind:
            case g.Conv2D() as conv:
                self.check_conv2d(conv, inputs[0], output)
            case g.Linear() as linear:
                self.check_linear(linear, inputs[0], output)
            case g.Add() as add:
                self.check_add(add, inputs[0], inputs[1], output)
            case g.Concat() as concat:
                self.check_concat(concat, inputs, output)
            case g.MaxPool() as pool:
                self.check_pool(pool.window, inputs[0], output)
                self.check_same_grid(inputs[0], output)
            case g.AveragePool() as pool:
                self.check_average_pool(pool, inputs[0], output)
            case g.Flatten():
                self.require(len(inputs[0].shape) == 3, "it flattens what is flat")
                self.require(output.shape == (inputs[0].elements,), f"its output cannot have the shape {output.shape}")
                self.check_same_grid(inputs[0], output)
            case g.Clamp() as clamp:
                self.check_elementwise(inputs[0], output)
                self.check_same_grid(inputs[0], output)
                self.check_range(clamp.qmin, clamp.qmax)
            case g.Table() as table:
                self.check_elementwise(inputs[0], output)
                self.use_tensor(table.table, g.DType.INT8, [(256,)], "table")
            case g.Softmax() as softmax:
                self.check_elementwise(inputs[0], output)
                self.use_tensor(softmax.table, g.DType.UINT32, [(256,)], "table")
                is_probability = output.scale == 1 / 256 and output.zero_point == -128
                self.require(is_probability, "a softmax has the output scale 1/256 and zero point -128")
            case g.Reshape():
                fits = len(output.shape) == 3 and inputs[0].elements == output.elements
                self.require(fits, f"its output cannot have the shape {output.shape}")
                self.check_same_grid(inputs[0], output)
            case g.Permute() as permute:
                self.require(len(inputs[0].shape) == 3, "it permutes what is flat")
                permuted = tuple(inputs[0].shape[axis] for axis in permute.axes)
                self.require(output.shape == permuted, f"its output cannot have the shape {output.shape}")
                self.check_same_grid(inputs[0], output)
            case g.MatMul() as product:
                self.check_matmul(product, inputs[0], inputs[1], output)
            case g.LayerNorm() as norm:
                self.check_layer_norm(norm, inputs[0], output)
            case g.Multiply() as multiply:
                self.check_multiply(multiply, inputs[0], inputs[1], output)
            case g.Constant() as constant:
                self.use_tensor(constant.value, g.DType.INT8, [output.shape], "value")
            case g.RuleTable() as rules:
                self.check_rule_table(rules, inputs[0], output)
            case g.Select() as select:
                self.check_select(select, inputs, output)
        self.computed.add(operator.output)
        self.work += 0 if isinstance(operator.kind, g.Flatten | g.Reshape) else output.elements

    def check_conv2d(self, conv: g.Conv2D, x: g.Activation, y: g.Activation) -> None:
        self.require(len(x.shape) == 3 and len(y.shape) == 3, "a convolution is [height, width, channels]")
        channels_in, channels_out = x.shape[2], y.shape[2]
        groups = conv.groups
        divides = groups >= 1 and channels_in % groups == 0 and channels_out % groups == 0
        self.require(divides, f"{groups} groups do not divide the channels")
        window = conv.window
        shape = (channels_out, window.kernel_h, window.kernel_w, channels_in // groups)
        weight = self.use_tensor(conv.weight, g.DType.INT8, [shape], "weight")
        self.require(groups == 1 or not weight.is_block_sparse, "a convolution in groups has no block-sparse weight")
        self.check_window(window, x, y)
        self.check_bias_and_requantize(conv, channels_out)
        self.work += y.elements * math.prod(shape[1:])

    def check_linear(self, linear: g.Linear, x: g.Activation, y: g.Activation) -> None:
        self.require(len(x.shape) == 1 and len(y.shape) == 1, "a linear operator is [features]")
        self.use_tensor(linear.weight, g.DType.INT8, [(y.shape[0], x.shape[0])], "weight")
        self.check_bias_and_requantize(linear, y.shape[0])
        self.work += y.elements * x.elements

    def check_bias_and_requantize(self, kind: g.Conv2D | g.Linear | g.LayerNorm, channels: int) -> None:
        if kind.bias is not None:
            self.use_tensor(kind.bias, g.DType.INT32, [(channels,)], "bias")
        self.check_requantize(kind.requantize, ((channels,), (1,)))

    def check_add(self, add: g.Add, a: g.Activation, b: g.Activation, y: g.Activation) -> None:
        self.require(a.shape == b.shape == y.shape, "an add has equal shapes")
        self.check_requantize(add.requantize, [(1,)])
        largest = abs(add.multiplier_a) * a.max_magnitude + abs(add.multiplier_b) * b.max_magnitude
        self.require(largest < limits.ACCUMULATOR, "its accumulator can overflow")

    def check_concat(self, concat: g.Concat, inputs: list[g.Activation], y: g.Activation) -> None:
        self.require(len(concat.requantize) == len(inputs), "there is not one requantize for each input")
        for form in concat.requantize:
            self.check_requantize(form, [(1,)])
        axes_equal = all(x.shape[:-1] == y.shape[:-1] for x in inputs)
        total = sum(x.channels for x in inputs)
        self.require(axes_equal and total == y.channels, f"its inputs do not make the shape {y.shape}")

    def check_matmul(self, product: g.MatMul, a: g.Activation, b: g.Activation, y: g.Activation) -> None:
        self.require(len(a.shape) == len(b.shape) == len(y.shape) == 3, "a product of activations has rank 3")
        self.require(product.heads >= 1, "it has no head")
        is_stacked = product.a_stacked or product.b_stacked or product.output_stacked
        self.require(product.heads > 1 or not is_stacked, "a single head cannot be stacked")
        a_matrix = product.matrix(a.shape, product.a_stacked)
        b_matrix = product.matrix(b.shape, product.b_stacked)
        y_matrix = product.matrix(y.shape, product.output_stacked)
        if a_matrix is None or b_matrix is None or y_matrix is None:
            self.fail(f"{product.heads} heads do not divide its inputs and output")
        inner, columns = b_matrix[::-1] if product.b_transposed else b_matrix
        fits = a_matrix[1] == inner and y_matrix == (a_matrix[0], columns)
        self.require(fits, f"the matrices {a_matrix}, {b_matrix} and {y_matrix} do not fit")
        self.require(inner * a.max_magnitude * b.max_magnitude < limits.ACCUMULATOR, "its accumulator can overflow")
        self.check_requantize(product.requantize, [(1,)])
        self.work += y.elements * inner

    def check_layer_norm(self, norm: g.LayerNorm, x: g.Activation, y: g.Activation) -> None:
        self.check_elementwise(x, y)
        channels = y.channels
        self.require(channels <= limits.NORM_CHANNELS, f"{channels} channels are too many to normalise")
        self.require(1 <= norm.epsilon <= limits.NORM_EPSILON, f"its epsilon {norm.epsilon} is out of range")
        self.use_tensor(norm.gain, g.DType.INT8, [(channels,)], "gain")
        self.check_bias_and_requantize(norm, channels)

    def check_multiply(self, multiply: g.Multiply, a: g.Activation, b: g.Activation, y: g.Activation) -> None:
        for_each_channel = len(a.shape) == 3 and b.shape == (1, 1, a.channels)
        self.require(a.shape == y.shape and (b.shape == a.shape or for_each_channel), "its shapes do not fit")
        self.check_requantize(multiply.requantize, [(1,)])

    def check_average_pool(self, pool: g.AveragePool, x: g.Activation, y: g.Activation) -> None:
        self.check_pool(pool.window, x, y)
        self.check_requantize(pool.requantize, [(1,)])
        self.require(
            (pool.reciprocal > 0) == pool.requantize.is_shift, "reciprocal goes with a shift, and only with one"
        )
        elements = pool.window.kernel_h * pool.window.kernel_w
        largest = elements * x.max_magnitude * max(pool.reciprocal, 1)
        self.require(largest < limits.ACCUMULATOR, "its accumulator can overflow")

    def check_rule_table(self, rules: g.RuleTable, x: g.Activation, y: g.Activation) -> None:
        self.require(len(x.shape) == 1 and len(y.shape) == 1, "a rule table is [features] to [classes]")
        self.require(x.elements <= limits.RULE_FEATURES, "a rule table has too many features")
        self.require(1 <= rules.trees <= limits.RULE_TREES, f"{rules.trees} trees are out of range")
        for index in (rules.nodes, rules.scores):
            self.require(index < len(self.graph.tensors), "a rule table's tensor is not there")
        nodes = self.graph.tensors[rules.nodes].elements
        self.require(rules.trees <= nodes <= limits.RULE_NODES, f"{nodes} nodes are out of range")
        self.use_tensor(rules.nodes, g.DType.UINT32, [(nodes,)], "nodes")
        # Two nodes for each condition and one for each tree: the number of leaves needs no values.
        leaves = (nodes + rules.trees) // 2
        self.use_tensor(rules.scores, g.DType.INT8, [(leaves, y.shape[0])], "scores")
        self.check_requantize(rules.requantize, ((y.shape[0],), (1,)))
        self.work += rules.trees * (limits.RULE_DEPTH + y.elements)

    def check_select(self, select: g.Select, inputs: list[g.Activation], y: g.Activation) -> None:
        gate, *branches = inputs
        self.require(gate.shape == (1,), "a select's gate is one value")
        self.require(-128 <= select.threshold <= 127, f"the threshold {select.threshold} is not within int8")
        for branch in branches:
            self.check_elementwise(branch, y)
            self.check_same_grid(branch, y)

    def check_pool(self, window: g.Window, x: g.Activation, y: g.Activation) -> None:
        self.require(len(x.shape) == 3 and len(y.shape) == 3, "a pool is [height, width, channels]")
        self.require(x.shape[2] == y.shape[2], "a pool keeps the channels")
        pad = window.padding
        smaller = max(pad.top, pad.bottom) < window.kernel_h and max(pad.left, pad.right) < window.kernel_w
        self.require(smaller, "a pool's pad is smaller than its kernel")
        self.check_window(window, x, y)
        self.work += y.elements * window.kernel_h * window.kernel_w

    def check_window(self, window: g.Window, x: g.Activation, y: g.Activation) -> None:
        pad = window.padding
        least_one = (window.kernel_h, window.kernel_w, window.stride_h, window.stride_w)
        pads = (pad.top, pad.bottom, pad.left, pad.right)
        self.require(min(least_one) >= 1, "kernel and stride are at least 1")
        self.require(max(*least_one, *pads) <= limits.WINDOW, "its window is too large")
        padded = (x.shape[0] + pad.top + pad.bottom) * (x.shape[1] + pad.left + pad.right) * x.shape[2]
        self.require(padded <= limits.ACTIVATION_ELEMENTS, "its input with the padding is too large")
        size = window.output_size(x.shape[0], x.shape[1])
        self.require(min(size) >= 1 and size == y.shape[:2], f"its window makes {size}, not {y.shape[:2]}")

    def check_requantize(self, form: g.Requantize, shapes: Iterable[tuple[int, ...]]) -> None:
        self.check_range(form.qmin, form.qmax)
        if form.is_shift:
            self.use_tensor(form.tensor, g.DType.INT8, shapes, "shift")
        else:
            self.use_tensor(form.tensor, g.DType.FLOAT32, shapes, "multiplier")

    def check_range(self, qmin: int, qmax: int) -> None:
        self.require(-128 <= qmin <= qmax <= 127, f"[{qmin}, {qmax}] is no range of int8")

    def check_elementwise(self, x: g.Activation, y: g.Activation) -> None:
        self.require(x.shape == y.shape, f"its output cannot have the shape {y.shape}")

    def check_same_grid(self, x: g.Activation, y: g.Activation) -> None:
        same = x.scale == y.scale and x.zero_point == y.zero_point
        self.require(same, "its output keeps the input's scale and zero point")
