"""Nothing that lost much accuracy leaves without being asked for.

The model's answers, by the engine, are compared with the float network's on data that no method saw. Where there is
none, the float network's own probabilities stand in for labels: where the two answer differently, the float network
says by how much it believed its own answer more, and the mean of that is the accuracy it expects to be lost. A network
that is sure of itself overestimates the loss, which errs on the safe side.

Labels that cannot be those of the network are refused: one that is sure of its answers and right no more often than
the most frequent label would be is not looking at the data that its labels are of.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from orchestrator.compression.artifact import Artifact
from orchestrator.compression.certificate import binomial_cdf
from orchestrator.compression.data import Preprocessing
from orchestrator.compression.errors import AccuracyLostError, DataError
from orchestrator.compression.evaluation import predict, predict_logits
from orchestrator.datasets.splits import Split, Splits
from orchestrator.records.accuracy import is_below

ALLOWED_DROP = 0.015
"""Of accuracy, in shares: what a model may lose unless more is asked for."""

_SURE = 0.5  # mean probability of its answers from which a network must be better than guessing
_GUESSING = 0.01  # chance at which guessing is as often right as the network was
_SELF_DECEPTION = 0.2  # by which a sound network may be less often right than it is sure
_FEW = 30  # samples that say nothing yet


@dataclass(frozen=True)
class Loss:
    """Accuracy lost; `basis` says on what."""

    fp32_accuracy: float
    accuracy: float
    basis: str

    @property
    def drop(self) -> float:
        return self.fp32_accuracy - self.accuracy


def measure_loss(network: nn.Module, artifact: Artifact, splits: Splits, *, preprocessing: Preprocessing) -> Loss:
    """On the choose split; on the calibrate split's inputs alone where that is empty.

    Raises:
        DataError: the labels cannot be those of this network's data.
    """
    split = splits.choose if len(splits.choose) else splits.calibrate
    probabilities = predict_logits(network, split.inputs, preprocessing).softmax(dim=1).numpy()
    answers = predict(artifact, split)
    if len(splits.choose):
        require_believable_labels(probabilities, split, what="the choose split")
        wanted = probabilities.argmax(axis=1) == split.labels
        return Loss(float(wanted.mean()), float((answers == split.labels).mean()), "the choose split")
    expected = probabilities.max(axis=1), probabilities[np.arange(len(answers)), answers]
    return Loss(float(expected[0].mean()), float(expected[1].mean()), "what the float network expects of its answers")


def require_kept(loss: Loss, allowed: float) -> None:
    """Raise `AccuracyLostError` where more than `allowed` is lost."""
    if is_below(loss.accuracy, loss.fp32_accuracy - allowed):
        raise AccuracyLostError(
            f"the model loses {100 * loss.drop:.2f} points of accuracy ({loss.fp32_accuracy:.4f} to "
            f"{loss.accuracy:.4f}, on {loss.basis}), {100 * allowed:.2f} are allowed: give it more bits, effort or "
            "training, or ask for it with a larger `max_accuracy_drop`",
            drop=loss.drop,
            allowed=allowed,
        )


def require_labels_of(network: nn.Module, split: Split, *, preprocessing: Preprocessing, what: str) -> None:
    """Raise `DataError` where the labels of `split` cannot be those of its images, as `network` sees them."""
    if len(split):
        logits = predict_logits(network, split.inputs, preprocessing)
        require_believable_labels(torch.softmax(logits, dim=1).numpy(), split, what=what)


def require_believable_labels(probabilities: npt.NDArray[np.float32], split: Split, *, what: str) -> None:
    """The module's last paragraph; `probabilities` [N, classes] are the float network's."""
    correct = int((probabilities.argmax(axis=1) == split.labels).sum())
    samples, sure = len(split), float(probabilities.max(axis=1).mean())
    most_frequent = np.bincount(split.labels).max() / samples
    at_least_as_often = 1.0 - binomial_cdf(correct - 1, samples, most_frequent) if correct else 1.0
    says_something = samples >= _FEW and most_frequent < 1.0  # labels that are all the same stand for none
    is_guessing = at_least_as_often > _GUESSING and correct / samples < sure - _SELF_DECEPTION
    if says_something and sure > _SURE and is_guessing:
        raise DataError(
            f"the labels of {what} are not those of its images: the network is {100 * sure:.0f} % sure of its answers "
            f"and right in {correct} of {samples}, no better than guessing; check labels and preprocessing"
        )
