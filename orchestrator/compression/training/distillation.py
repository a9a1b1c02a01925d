"""Network distillation: a student learns the teacher's soft answers, and the labels.

    loss = alpha * T^2 * KL(softmax(teacher / T) || softmax(student / T)) + (1 - alpha) * cross-entropy(student, label)

The teacher is frozen and in evaluation mode; its answers are computed once, since they never change. T^2 keeps the
gradients of the soft part the same size whatever the temperature. Hinton, Vinyals & Dean 2015, arXiv:1503.02531.
Other objectives, function matching among them, are in `objectives`.

For repair, `extra` holds labelled samples from a device whose world has changed. The teacher has not seen that world
either, so on them only the labels count; a stated share of each batch is drawn from them, however few there are, and
the rest of the batch holds the student to what it knew.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from orchestrator.compression.capture.check import require_finite_module
from orchestrator.compression.data import Preprocessing, images_to_tensor, labels_to_tensor, require_samples
from orchestrator.compression.errors import TrainingError
from orchestrator.compression.evaluation import predict_logits
from orchestrator.compression.progress import OnProgress
from orchestrator.compression.training.learning import Learning
from orchestrator.compression.training.loop import Schedule, minimise
from orchestrator.compression.training.objectives import Objective, distillation_loss, soft_divergence
from orchestrator.datasets.splits import Split


def distill(
    student: nn.Module,
    teacher: nn.Module,
    split: Split,
    learning: Learning,
    *,
    preprocessing: Preprocessing,
    answers: Tensor | None = None,
    extra: Split | None = None,
    extra_share: float = 0.3,
    on_progress: OnProgress | None = None,
) -> None:
    """Train `student` in place; it is left in evaluation mode.

    Args:
        answers: the teacher's logits for `split`, float32 [samples, classes], where several students need them.
        extra: labelled samples learned from their labels alone.
        extra_share: how much of each batch they are.

    Raises:
        DataError: a split is too small, or holds labels that the networks have no class for.
        WeightError: a weight of either network is not finite.
        TrainingError: a parameter is out of range, the two networks' outputs differ in shape, or the loss diverges.
    """
    require_samples(split, at_least=2, what="distillation")
    if not 0 < extra_share < 1:
        raise TrainingError(f"extra_share must be between 0 and 1, found {extra_share}")
    if answers is not None and len(answers) != len(split):
        raise TrainingError(f"the teacher's {len(answers)} answers are not those to the {len(split)} samples")
    require_finite_module(teacher)
    require_finite_module(student)
    teach: _Matching | _Known
    if learning.objective is Objective.MATCHING:
        if extra is not None:
            raise TrainingError(
                "function matching asks the teacher alone, which cannot know the labels of extra samples"
            )
        teach = _Matching(teacher, learning)
    else:
        known = predict_logits(teacher, split.inputs, preprocessing) if answers is None else answers
        extras = None if extra is None else _Extras(extra, preprocessing, learning, extra_share)
        teach = _Known(known, labels_to_tensor(split.labels), learning, extras)

    def loss_of_batch(indices: Tensor) -> Tensor:
        return teach.loss(student, images_to_tensor(split.inputs[indices.numpy()], preprocessing), indices)

    schedule = Schedule(
        epochs=learning.epochs,
        batch_size=learning.batch_size,
        learning_rate=learning.learning_rate,
        seed=learning.seed,
    )
    student.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(learning.seed)  # dropout
        minimise(
            [parameter for parameter in student.parameters() if parameter.requires_grad],
            loss_of_batch,
            len(split),
            schedule,
            doing="distilling",
            on_progress=on_progress,
        )
    student.eval()


@dataclass(eq=False)
class _Matching:
    """A teacher that is asked about views that nobody has seen before."""

    teacher: nn.Module
    learning: Learning

    def __post_init__(self) -> None:
        self.teacher.eval()
        self.generator = torch.Generator().manual_seed(self.learning.seed)

    def loss(self, student: nn.Module, images: Tensor, indices: Tensor) -> Tensor:
        del indices
        views = self.learning.views.draw(images, self.generator)
        with torch.no_grad():
            answers = self.teacher(views)
        return soft_divergence(student(views), answers, self.learning.temperature)


@dataclass(eq=False)
class _Known:
    """A teacher whose answers to all samples are known; with extra samples, a batch is a mixture of both."""

    answers: Tensor
    labels: Tensor
    learning: Learning
    extras: _Extras | None

    def loss(self, student: nn.Module, images: Tensor, indices: Tensor) -> Tensor:
        if self.extras is None:
            return self._of(student(images), indices)
        extra_images, extra_labels = self.extras.draw()
        logits = student(torch.cat([images, extra_images]))  # one batch, so that batch norm sees the mixture
        known = self._of(logits[: len(indices)], indices)
        new = functional.cross_entropy(logits[len(indices) :], extra_labels)
        return (1 - self.extras.share) * known + self.extras.share * new

    def _of(self, logits: Tensor, indices: Tensor) -> Tensor:
        how = self.learning
        return distillation_loss(
            logits, self.answers[indices], self.labels[indices], how.temperature, how.alpha, how.objective
        )


class _Extras:
    """Endless batches of the extra samples, each pass in a new order."""

    def __init__(self, split: Split, preprocessing: Preprocessing, learning: Learning, share: float) -> None:
        require_samples(split, what="repair")
        self.split, self.preprocessing, self.share = split, preprocessing, share
        self.batch_size = max(round(learning.batch_size * share / (1 - share)), 1)
        self.rng = np.random.default_rng(learning.seed)
        self.queue = np.empty(0, np.int64)

    def draw(self) -> tuple[Tensor, Tensor]:
        while len(self.queue) < self.batch_size:
            self.queue = np.concatenate([self.queue, self.rng.permutation(len(self.split))])
        indices, self.queue = self.queue[: self.batch_size], self.queue[self.batch_size :]
        images = images_to_tensor(self.split.inputs[indices], self.preprocessing)
        return images, labels_to_tensor(self.split.labels[indices])
