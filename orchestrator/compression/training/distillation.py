"""Network distillation: a student learns the teacher's soft answers, and the labels.

    loss = alpha * T^2 * KL(softmax(teacher / T) || softmax(student / T)) + (1 - alpha) * cross-entropy(student, label)

The teacher is frozen and in evaluation mode; its answers are computed once, since they never change. T^2 keeps the
gradients of the soft part the same size whatever the temperature. Hinton, Vinyals & Dean 2015, arXiv:1503.02531.
`Objective.DECOUPLED` weighs the two halves of that divergence apart, see `objectives`.

Function matching (`views`) takes the teacher for a function that can be asked anywhere: both see the same
views, mirrored, shifted and mixed anew in every step, and labels are not needed. It costs a pass of the teacher in
every step, and pays where training is long. Beyer et al. 2022, arXiv:2106.05237.

For repair, `extra` holds labelled samples from a device whose world has changed. The teacher has not seen that world
either, so on them only the labels count; a stated share of each batch is drawn from them, however few there are, and
the rest of the batch holds the student to what it knew.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from orchestrator.compression.data import Preprocessing, images_to_tensor, labels_to_tensor, require_samples
from orchestrator.compression.errors import TrainingError
from orchestrator.compression.evaluation import predict_logits
from orchestrator.compression.progress import OnProgress
from orchestrator.compression.training.augment import Views
from orchestrator.compression.training.loop import Schedule, minimise
from orchestrator.compression.training.objectives import Objective, distillation_loss
from orchestrator.datasets.splits import Split


def distill(
    student: nn.Module,
    teacher: nn.Module,
    split: Split,
    *,
    preprocessing: Preprocessing,
    epochs: int,
    temperature: float = 4.0,
    alpha: float = 0.7,
    objective: Objective = Objective.KD,
    answers: Tensor | None = None,
    views: Views | None = None,
    batch_size: int = 128,
    learning_rate: float = 0.05,
    seed: int = 0,
    extra: Split | None = None,
    extra_share: float = 0.3,
    on_progress: OnProgress | None = None,
) -> None:
    """Train `student` in place; it is left in evaluation mode.

    Args:
        alpha: weight of the soft part, 0..1; the labels have the rest, and are not read where it is 1.
        answers: the teacher's logits for `split`, float32 [samples, classes], where several students need them.
        views: of the samples, drawn anew in every step and answered by the teacher; then only its answers count.
        extra: labelled samples learned from their labels alone.
        extra_share: how much of each batch they are.

    Raises:
        DataError: a split is too small.
        TrainingError: a parameter is out of range, the two networks' outputs differ in shape, or the loss diverges.
    """
    require_samples(split, at_least=2, what="distillation")
    if not (math.isfinite(temperature) and temperature > 0) or not 0 <= alpha <= 1 or not 0 < extra_share < 1:
        raise TrainingError(
            f"temperature must be positive, alpha and extra_share within 0..1: {temperature}, {alpha}, {extra_share}"
        )
    if views is not None and extra is not None:
        raise TrainingError("function matching asks the teacher alone; extra samples have labels that it does not know")
    if answers is not None and len(answers) != len(split):
        raise TrainingError(f"the teacher's {len(answers)} answers are not those to the {len(split)} samples")
    schedule = Schedule(epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, seed=seed)
    matching = _Matching(teacher, views, temperature, seed) if views else None
    if matching is not None:
        soft = torch.empty(0)
    elif answers is None:
        soft = predict_logits(teacher, split.inputs, preprocessing)
    else:
        soft = answers
    labels = labels_to_tensor(split.labels)
    extras = None
    if extra is not None:
        extras = _Extras(extra, preprocessing, round(batch_size * extra_share / (1 - extra_share)), seed)

    def loss_of_batch(indices: Tensor) -> Tensor:
        images = images_to_tensor(split.inputs[indices.numpy()], preprocessing)
        if matching is not None:
            return matching.loss(student, images, labels[indices])
        if extras is None:
            return distillation_loss(student(images), soft[indices], labels[indices], temperature, alpha, objective)
        extra_images, extra_labels = extras.draw()
        logits = student(torch.cat([images, extra_images]))  # one batch, so that batch norm sees the mixture
        mine = len(indices)
        known = distillation_loss(logits[:mine], soft[indices], labels[indices], temperature, alpha, objective)
        new = functional.cross_entropy(logits[mine:], extra_labels)
        return (1 - extra_share) * known + extra_share * new

    student.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # dropout
        minimise(
            [parameter for parameter in student.parameters() if parameter.requires_grad],
            loss_of_batch,
            len(split),
            schedule,
            doing="distilling",
            on_progress=on_progress,
        )
    student.eval()


class _Matching:
    """A teacher that is asked about views that nobody has seen before."""

    def __init__(self, teacher: nn.Module, views: Views, temperature: float, seed: int) -> None:
        self.teacher, self.views, self.temperature = teacher.eval(), views, temperature
        self.generator = torch.Generator().manual_seed(seed)

    def loss(self, student: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        views = self.views.draw(images, self.generator)
        with torch.no_grad():
            answers = self.teacher(views)
        return distillation_loss(student(views), answers, labels, self.temperature, alpha=1.0)


class _Extras:
    """Endless batches of the extra samples, each pass in a new order."""

    def __init__(self, split: Split, preprocessing: Preprocessing, batch_size: int, seed: int) -> None:
        require_samples(split, what="repair")
        self.split, self.preprocessing, self.batch_size = split, preprocessing, max(batch_size, 1)
        self.rng = np.random.default_rng(seed)
        self.queue = np.empty(0, np.int64)

    def draw(self) -> tuple[Tensor, Tensor]:
        while len(self.queue) < self.batch_size:
            self.queue = np.concatenate([self.queue, self.rng.permutation(len(self.split))])
        indices, self.queue = self.queue[: self.batch_size], self.queue[self.batch_size :]
        images = images_to_tensor(self.split.inputs[indices], self.preprocessing)
        return images, labels_to_tensor(self.split.labels[indices])
