"""ONNX files for tests: exported from torch, and written by hand."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import helper, numpy_helper
from torch import nn


def exported(network: nn.Module, shape: tuple[int, ...], *, any_batch: bool = True) -> bytes:
    """What torch's exporter writes for an evaluated network and inputs [N, *shape]."""
    buffer = io.BytesIO()
    axes = {"x": {0: "batch"}} if any_batch else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch would rather have its other exporter used
        torch.onnx.export(
            network.eval(),
            (torch.zeros(1, *shape),),
            buffer,
            dynamo=False,
            opset_version=17,
            input_names=["x"],
            dynamic_axes=axes,
        )
    return buffer.getvalue()


def written(nodes: Sequence[Any], weights: dict[str, np.ndarray], shape: tuple[int, ...] = (1, 3, 8, 8)) -> Any:
    """A model from input "x" to output "y", to be changed before it is serialised."""
    float32 = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        list(nodes),
        "written",
        [helper.make_tensor_value_info("x", float32, shape)],
        [helper.make_tensor_value_info("y", float32, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def node(operation: str, inputs: Sequence[str], output: str = "y", **attributes: Any) -> Any:
    return helper.make_node(operation, list(inputs), [output], name=f"the_{operation.lower()}", **attributes)


def run_onnx(data: bytes, x: torch.Tensor) -> torch.Tensor:
    """What ONNX Runtime makes of it, sample by sample."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return torch.cat([torch.from_numpy(session.run(None, {name: one[None].numpy()})[0]) for one in x])
