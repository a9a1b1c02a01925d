"""Where rules get their features inside a network: an operator's output or the input, pooled and flattened on the
device.

Works on the lowered model and asks the engine for values, so the features that rules are grown on are the very
integers that a device computes. A tap close to the input leaves more of the network to skip; one deeper is a learned
bottleneck.
"""

from __future__ import annotations

import numpy as np

from orchestrator.compression.artifact import Artifact
from orchestrator.compression.errors import RecipeError
from orchestrator.compression.rules.editing import Editing
from orchestrator.compression.rules.forest import Float, Int8
from orchestrator.compression.rules.values import softmax
from protos import model_pb2 as pb

INPUT = "input"
_BATCH = 256


def add_tap(editing: Editing, where: str, pool: int) -> int:
    """Append what turns the feature map at `where` into a list of features; returns its activation.

    Args:
        where: an operator's name, or "input".
        pool: average a map down to `pool` x `pool`; 0 leaves it as it is.

    Raises:
        RecipeError: there is no such operator, or nothing to pool.
    """
    model = editing.model
    outputs = {operator.name: operator.output for operator in model.operators}
    if where != INPUT and where not in outputs:
        raise RecipeError(f"rules: the network has no operator {where!r}; it has {', '.join(outputs)}")
    at = model.input.activation if where == INPUT else outputs[where]
    if pool:
        at = _add_pool(editing, at, pool, where)
    source = model.activations[at]
    flat = pb.Activation(name="rules.features", dtype=pb.INT8, scale=source.scale, zero_point=source.zero_point)
    flat.shape.append(int(np.prod(source.shape)))
    if len(source.shape) == 3:
        return editing.add("rules.features", [at], flat, flatten=pb.Flatten())
    return editing.add("rules.features", [at], flat, clamp=pb.Clamp(qmin=-128, qmax=127))


def run(artifact: Artifact, inputs_NHWC: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Int8:
    """int8 outputs of the engine, [N, elements of the output]."""
    engine = artifact.load()
    elements = engine.graph.output_activation.elements
    parts = [
        np.frombuffer(engine.infer_batch(inputs_NHWC[start : start + _BATCH].tobytes(), raw=True), np.int8)
        for start in range(0, len(inputs_NHWC), _BATCH)
    ]
    return np.concatenate(parts).reshape(-1, elements)


def probabilities(artifact: Artifact, q_NC: Int8) -> Float:
    """What int8 outputs say: a softmax of logits, or themselves where the model ends with a softmax."""
    graph = artifact.load().graph
    grid = graph.output_activation
    values = (q_NC.astype(np.float64) - grid.zero_point) * grid.scale
    if (grid.scale, grid.zero_point) != (1 / 256, -128):
        return softmax(values)
    return np.asarray((values + 1e-6) / (values + 1e-6).sum(axis=1, keepdims=True))


def _add_pool(editing: Editing, at: int, pool: int, where: str) -> int:
    source = editing.model.activations[at]
    if len(source.shape) != 3 or min(source.shape[:2]) < pool:
        raise RecipeError(f"rules: {where} of the shape {list(source.shape)} cannot be pooled to {pool} x {pool}")
    kernel = [side // pool for side in source.shape[:2]]
    form = pb.Requantize(qmin=-128, qmax=127)
    form.multiplier = editing.tensors.add("rules.pool.multiplier", np.array([1 / (kernel[0] * kernel[1])], np.float32))
    window = pb.AveragePool(
        kernel_h=kernel[0],
        kernel_w=kernel[1],
        stride_h=kernel[0],
        stride_w=kernel[1],
        padding=pb.Padding(),
        requantize=form,
    )
    pooled = pb.Activation(name="rules.pool", dtype=pb.INT8, scale=source.scale, zero_point=source.zero_point)
    pooled.shape.extend(
        [*((side - k) // k + 1 for side, k in zip(source.shape[:2], kernel, strict=True)), source.shape[2]]
    )
    return editing.add("rules.pool", [at], pooled, average_pool=window)
