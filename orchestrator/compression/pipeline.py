"""The way of a network to a model: capture, quantize, lower, golden vectors.

What comes before (training, distillation) makes the network and is called on its own, and so can pruning be; what comes
after (evaluation, certificate) only looks at the result.
"""

from __future__ import annotations

import hashlib

from torch import nn

from edge_agent.runtime import check_golden
from orchestrator.compression.artifact import Artifact
from orchestrator.compression.data import Preprocessing
from orchestrator.compression.gate import ALLOWED_DROP, measure_loss, require_kept, require_labels_of
from orchestrator.compression.golden import golden_vectors
from orchestrator.compression.lower import lower
from orchestrator.compression.lower.model import serialise
from orchestrator.compression.progress import OnProgress
from orchestrator.compression.prune import Pruning, prune_and_recover
from orchestrator.compression.qat import Checkpoints, train_quantized
from orchestrator.compression.quantize import QuantizedGraph
from orchestrator.compression.quantize.network import quantize_network
from orchestrator.compression.recipe import Recipe
from orchestrator.datasets.splits import Split, Splits


def compress(
    model: nn.Module,
    splits: Splits,
    recipe: Recipe,
    *,
    name: str,
    prune: Pruning | None = None,
    fp32: nn.Module | None = None,
    max_accuracy_drop: float | None = ALLOWED_DROP,
    checkpoints: Checkpoints | None = None,
    on_progress: OnProgress | None = None,
) -> Artifact:
    """Turn a trained network into a model by `recipe`, and let it out only if it kept its accuracy.

    Quantization reads `calibrate` and no labels; a recipe with `training` reads `train` too. What comes out is judged
    on `choose` (see `gate`), which no method sees.

    Args:
        model: takes normalised float32 [N, C, H, W], returns logits [N, classes].
        name: what applications call the model, the same for every version.
        prune: remove channels and train back before; reads `train` with its labels.
        fp32: what accuracy is compared with, labels are judged by and training learns from, where `model` is not the
            original any more.
        max_accuracy_drop: what may be lost, as a share; None lets everything out.
        checkpoints: where a training that is interrupted goes on.

    Raises:
        AccuracyLostError: more was lost than is allowed.
        CaptureError, WeightError, QuantizationError, DataError, PruningError, TrainingError: see
            `orchestrator.compression.errors`.
    """
    preprocessing = Preprocessing.of(splits)
    fp32 = fp32 or model
    require_labels_of(fp32, splits.calibrate, preprocessing=preprocessing, what="the calibrate split")
    if prune is not None:
        model = prune_and_recover(model, splits.train, prune, preprocessing=preprocessing, on_progress=on_progress)
    if recipe.training is None:
        quantized = quantize_network(
            model, splits.calibrate, recipe, preprocessing=preprocessing, on_progress=on_progress
        )
    else:
        quantized = train_quantized(
            model, splits.train, splits.calibrate, recipe,
            preprocessing=preprocessing, teacher=fp32, checkpoints=checkpoints, on_progress=on_progress,
        )  # fmt: skip
    artifact = build(quantized, splits.calibrate, name=name, preprocessing=preprocessing, labels=splits.labels)
    if max_accuracy_drop is not None:
        require_kept(measure_loss(fp32, artifact, splits, preprocessing=preprocessing), max_accuracy_drop)
    return artifact


def build(
    quantized: QuantizedGraph,
    samples: Split,
    *,
    name: str,
    preprocessing: Preprocessing,
    labels: tuple[str, ...],
) -> Artifact:
    """Lower and add golden vectors (a few of `samples` among them), checked on this machine's own engine."""
    message, blobs = lower(quantized, name=name, preprocessing=preprocessing, labels=labels)
    bare = Artifact(serialise(message), blobs)
    golden = golden_vectors(bare.load(path="reference"), samples.inputs)
    message.golden.sha256, message.golden.size_bytes = hashlib.sha256(golden).digest(), len(golden)
    artifact = Artifact(serialise(message), {**blobs, message.golden.sha256: golden}, quantized.recipe)
    check_golden(artifact.load(), golden)
    return artifact
