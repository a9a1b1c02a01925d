"""Accuracy, of a compressed model by the very engine that devices run, and of a float network by torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from edge_agent.runtime.interface import Engine
from orchestrator.compression.artifact import Artifact
from orchestrator.compression.data import Preprocessing, images_to_tensor, require_samples
from orchestrator.compression.errors import DataError
from orchestrator.compression.modes import evaluation_mode
from orchestrator.datasets.splits import Split

_BATCH = 256


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Which samples were answered correctly, in the split's order: what paired comparisons need."""

    correct: npt.NDArray[np.bool_]

    @property
    def accuracy(self) -> float:
        return float(self.correct.mean())


def evaluate(model: Artifact | Engine, split: Split) -> Evaluation:
    """Answer every sample from its raw pixels with the engine; ties go to the lowest class, as on a device.

    Raises:
        DataError: the split is empty, its images are not of the model's shape, or the model takes no raw pixels.
    """
    return Evaluation(predict(model, split) == split.labels)


def predict(model: Artifact | Engine, split: Split) -> npt.NDArray[np.int64]:
    """The class that the engine answers for every sample, [N]; raises what `evaluate` raises."""
    require_samples(split, what="an evaluation", judges=True)
    engine = model.load() if isinstance(model, Artifact) else model
    graph = engine.graph
    if graph.input.raw_table is None or graph.input_activation.shape != split.sample_shape:
        raise DataError(
            f"the model takes {graph.input_activation.shape}, the split has raw images {split.sample_shape}"
        )
    classes = graph.output_activation.elements
    predicted = np.empty(len(split), np.int64)
    for start in range(0, len(split), _BATCH):
        batch = split.inputs[start : start + _BATCH]
        output = np.frombuffer(engine.infer_batch(batch.tobytes(), raw=True), np.int8).reshape(len(batch), classes)
        predicted[start : start + len(batch)] = output.argmax(axis=1)
    return predicted


def evaluate_network(network: nn.Module, split: Split, *, preprocessing: Preprocessing) -> Evaluation:
    """Answer every sample with a float network in evaluation mode; its mode is put back afterwards."""
    require_samples(split, what="an evaluation", judges=True)
    predicted = predict_logits(network, split.inputs, preprocessing).argmax(dim=1).numpy()
    return Evaluation(predicted == split.labels)


@torch.no_grad()
def predict_logits(network: nn.Module, inputs: npt.NDArray[np.uint8], preprocessing: Preprocessing) -> torch.Tensor:
    """Logits [N, classes] of uint8 [N, H, W, C] images, batch norm and dropout in evaluation mode.

    Raises:
        DataError: the network does not take these images, or answers something else.
    """
    with evaluation_mode(network):
        batches = [
            _answered(network, images_to_tensor(inputs[start : start + _BATCH], preprocessing))
            for start in range(0, len(inputs), _BATCH)
        ]
    return torch.cat(batches)


def _answered(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    try:
        logits = network(images)
    except RuntimeError as error:  # torch's own word for shapes and types that do not fit
        raise DataError(f"the network fails on float32 images {list(images.shape)}: {error}") from error
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or len(logits) != len(images):
        found = list(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise DataError(f"the network must answer images {list(images.shape)} with logits [N, classes], found {found}")
    return logits
