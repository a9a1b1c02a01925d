"""How far an exported ONNX file does under ONNX Runtime what the model does on a device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edge_agent.runtime import load_model
from orchestrator.datasets.feature_grid import input_grid
from orchestrator.onnx.errors import OnnxMissingError


@dataclass(frozen=True)
class Agreement:
    """Over `samples` random inputs: outputs that are the same int8 number, the largest difference in steps of the
    output's scale, and samples whose largest output is in the same place."""

    samples: int
    same_outputs: float
    largest_difference: int
    same_class: float

    def __str__(self) -> str:
        return (
            f"ONNX Runtime agrees on {self.same_outputs:.1%} of the outputs of {self.samples} random inputs, "
            f"differs by at most {self.largest_difference} step(s), and gives the same class for {self.same_class:.1%}"
        )


def measure_agreement(
    data: bytes, blobs: Callable[[bytes], bytes], onnx_file: bytes, *, samples: int = 64, seed: int = 0
) -> Agreement:
    """Compare the engine with ONNX Runtime on inputs that are uniform over the input's range.

    Raises:
        OnnxMissingError: the `onnxruntime` package is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise OnnxMissingError("onnxruntime") from error
    engine = load_model(data, blobs)
    source, result = engine.graph.input_activation, engine.graph.output_activation
    rng = np.random.default_rng(seed)
    q = rng.integers(-128, 128, (samples, *source.shape))
    x = input_grid(engine.graph, blobs).dequantize(q - source.zero_point)
    ours = np.frombuffer(engine.infer_batch(x.astype("<f4").tobytes(), raw=False), np.int8).reshape(
        samples, *result.shape
    )

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(onnx_file, options, providers=["CPUExecutionProvider"])
    (values,) = session.run(None, {"input": x.transpose(0, 3, 1, 2) if x.ndim == 4 else x})
    theirs = values.transpose(0, 2, 3, 1) if values.ndim == 4 else values
    steps = np.rint(theirs / np.float32(result.scale)).astype(np.int64) + result.zero_point
    difference = np.abs(steps - ours)
    ours_flat, steps_flat = ours.reshape(samples, -1), steps.reshape(samples, -1)
    return Agreement(
        samples=samples,
        same_outputs=float((difference == 0).mean()),
        largest_difference=int(difference.max()),
        same_class=float((ours_flat.argmax(axis=1) == steps_flat.argmax(axis=1)).mean()),
    )
