"""Tensors of the Open Inference Protocol to plain bytes and back; everything an application sends is checked here.

Names are the same for every model, so that an application need not change when its model does: the input is `input`
(UINT8, or FP32 already normalised), the outputs are `output` (FP32) and, on request, `output_int8` (INT8).
"""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Iterable
from dataclasses import dataclass

from edge_agent.errors import InputError, NotServedError
from edge_agent.predictor import Prediction
from edge_agent.runtime.graph import Graph
from edge_agent.verify import VerifiedModel
from protos import inference_pb2 as pb

INPUT_NAME = "input"
OUTPUT_NAME = "output"
RAW_OUTPUT_NAME = "output_int8"
_BYTES_PER_ELEMENT = {"UINT8": 1, "FP32": 4}


@dataclass(frozen=True, slots=True)
class Batch:
    data: memoryview
    """Samples back to back."""
    samples: int
    raw: bool
    """uint8, else float32."""
    was_typed: bool
    """The request used typed contents, so the response does too."""

    def __getitem__(self, index: int) -> memoryview:
        size = len(self.data) // self.samples
        return self.data[index * size : (index + 1) * size]


def read_batch(request: pb.ModelInferRequest, graph: Graph, max_batch: int) -> Batch:
    """The samples of a request.

    Raises:
        InputError: anything about the input is not what the model takes.
    """
    if len(request.inputs) != 1:
        raise InputError(f"the model takes one input, {INPUT_NAME!r}; the request has {len(request.inputs)}")
    tensor = request.inputs[0]
    if tensor.name != INPUT_NAME:
        raise InputError(f"the model's input is {INPUT_NAME!r}, not {tensor.name!r}")
    if tensor.datatype not in input_datatypes(graph):
        raise InputError(f"the model takes {' or '.join(input_datatypes(graph))}, not {tensor.datatype!r}")
    if any(name.startswith("shared_memory") for name in tensor.parameters):
        raise InputError("shared memory is not supported; send the tensor in the request")
    shape = graph.input_activation.shape
    if len(tensor.shape) != len(shape) + 1 or tuple(tensor.shape[1:]) != shape:
        raise InputError(f"the input has shape [batch, {', '.join(map(str, shape))}], not {list(tensor.shape)}")
    samples = tensor.shape[0]
    if not 1 <= samples <= max_batch:
        raise InputError(f"a batch has 1 to {max_batch} samples, not {samples}")
    data, was_typed = _contents(request, tensor)
    expected = samples * math.prod(shape) * _BYTES_PER_ELEMENT[tensor.datatype]
    if len(data) != expected:
        raise InputError(f"the input's contents have {len(data)} bytes, its shape and type need {expected}")
    return Batch(memoryview(data), samples, tensor.datatype == "UINT8", was_typed)


def requested_outputs(request: pb.ModelInferRequest) -> tuple[str, ...]:
    names = tuple(output.name for output in request.outputs) or (OUTPUT_NAME,)
    for name in names:
        if name not in (OUTPUT_NAME, RAW_OUTPUT_NAME):
            raise InputError(f"the model's outputs are {OUTPUT_NAME!r} and {RAW_OUTPUT_NAME!r}, not {name!r}")
    if len(set(names)) != len(names):
        raise InputError("an output is requested twice")
    return names


def write_outputs(
    response: pb.ModelInferResponse,
    names: Iterable[str],
    model: VerifiedModel,
    predictions: list[Prediction],
    *,
    typed: bool,
) -> None:
    shape = (len(predictions), *model.engine.graph.output_activation.shape)
    for name in names:
        tensor = response.outputs.add(name=name, datatype="FP32" if name == OUTPUT_NAME else "INT8", shape=shape)
        data = b"".join(prediction.q for prediction in predictions)
        if name == OUTPUT_NAME:
            data = b"".join(model.engine.dequantize(prediction.q) for prediction in predictions)
        if not typed:
            response.raw_output_contents.append(data)
        elif name == OUTPUT_NAME:
            tensor.contents.fp32_contents.extend(_floats(data))
        else:
            tensor.contents.int_contents.extend(memoryview(data).cast("b"))


def metadata(name: str, model: VerifiedModel) -> pb.ModelMetadataResponse:
    graph = model.engine.graph
    tensor = pb.ModelMetadataResponse.TensorMetadata
    output_shape = [-1, *graph.output_activation.shape]
    return pb.ModelMetadataResponse(
        name=name,
        versions=[model.digest],
        platform="espalier",
        inputs=[tensor(name=INPUT_NAME, datatype=input_datatypes(graph)[0], shape=[-1, *graph.input_activation.shape])],
        outputs=[
            tensor(name=OUTPUT_NAME, datatype="FP32", shape=output_shape),
            tensor(name=RAW_OUTPUT_NAME, datatype="INT8", shape=output_shape),
        ],
    )


def check_served(name: str, version: str, served_name: str, model: VerifiedModel) -> None:
    """Raise NotServedError unless the model, and its version where one is named, is the one that serves."""
    if name != served_name:
        raise NotServedError(f"model {name!r} is not served here; {served_name!r} is")
    if version and version != model.digest:
        raise NotServedError(f"version {version!r} of model {name!r} is not served here; {model.digest} is")


def input_datatypes(graph: Graph) -> tuple[str, ...]:
    return ("FP32",) if graph.input.raw_table is None else ("UINT8", "FP32")


def _contents(request: pb.ModelInferRequest, tensor: pb.ModelInferRequest.InferInputTensor) -> tuple[bytes, bool]:
    typed = tensor.contents
    if request.raw_input_contents:
        if len(request.raw_input_contents) != 1 or typed.ListFields():
            raise InputError("give the input's contents once, either raw or typed")
        return request.raw_input_contents[0], False
    wanted = "uint_contents" if tensor.datatype == "UINT8" else "fp32_contents"
    if [field.name for field, _ in typed.ListFields()] != [wanted]:
        raise InputError(f"a {tensor.datatype} input has its contents in {wanted}, or raw")
    if tensor.datatype == "FP32":
        values = array("f", typed.fp32_contents)
        if sys.byteorder != "little":
            values.byteswap()
        return values.tobytes(), True
    try:
        return bytes(typed.uint_contents), True
    except ValueError:
        raise InputError("a UINT8 input has a value above 255") from None


def _floats(data: bytes) -> array[float]:
    values = array("f", data)
    if sys.byteorder != "little":
        values.byteswap()
    return values
