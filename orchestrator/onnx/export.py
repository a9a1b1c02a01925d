"""A compressed model as an ONNX file in QDQ form: what it computes in float between pairs of quantize and dequantize.

The file takes normalised float32 [N, C, H, W] (or [N, F]), as the network did that was compressed, and gives float32.
Weights are int8 with a scale for each channel, which says what the model's multipliers say: s_w = m * s_out / s_in.
Runtimes requantize in their own ways, so outputs may differ by a step; `agreement` says how often.
"""

from __future__ import annotations

from collections.abc import Callable

from edge_agent.runtime.model import parse_model
from edge_agent.runtime.tensors import decode_tensors, fetch_payloads
from orchestrator.onnx.image_operators import IMAGE_OPERATORS
from orchestrator.onnx.rule_operators import RULE_OPERATORS
from orchestrator.onnx.sequence_operators import SEQUENCE_OPERATORS
from orchestrator.onnx.writer import Writer

OPSET, IR_VERSION = 17, 8  # the first with layer norm; what any runtime of the last years reads

OPERATORS = {**IMAGE_OPERATORS, **SEQUENCE_OPERATORS, **RULE_OPERATORS}


def export_onnx(data: bytes, blobs: Callable[[bytes], bytes]) -> bytes:
    """The ONNX file for a model's stored bytes; `blobs` gives the payload for a SHA-256.

    Raises:
        ModelFormatError, DigestMismatchError: it is not a valid model, or its tensors are not what it names.
        OnnxMissingError: the `onnx` package is not installed.
    """
    graph = parse_model(data)
    writer = Writer(graph, decode_tensors(graph, fetch_payloads(graph, blobs)))
    _write_input(writer)
    for operator in graph.operators:
        OPERATORS[type(operator.kind)](writer, operator, operator.kind)
    writer.node("Identity", [writer.value(graph.output.activation)], output="output")
    return _serialize(writer)


def _write_input(writer: Writer) -> None:
    source, value = writer.graph.input, "input"
    if source.channel_affine is not None:
        shape = (-1, 1, 1) if len(writer.graph.input_activation.shape) == 3 else (-1,)
        offset, multiplier = (writer.constant(row.reshape(shape)) for row in writer.tensors[source.channel_affine])
        value = writer.node("Mul", [writer.node("Sub", [value, offset]), multiplier])
    writer.quantize(value, source.activation, 1 / source.multiplier)


def _serialize(writer: Writer) -> bytes:
    graph, helper = writer.graph, writer.onnx.helper
    ends = [
        helper.make_tensor_value_info(
            name, writer.onnx.TensorProto.FLOAT, ["batch", *_channels_first(activation.shape)]
        )
        for name, activation in (("input", graph.input_activation), ("output", graph.output_activation))
    ]
    name = graph.name or "model"
    onnx_graph = helper.make_graph(writer.nodes, name, ends[:1], ends[1:], writer.constants)
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(onnx_graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="espalier")
    writer.onnx.checker.check_model(model, full_check=True)
    result: bytes = model.SerializeToString(deterministic=True)
    return result


def _channels_first(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[2], shape[0], shape[1]) if len(shape) == 3 else shape
