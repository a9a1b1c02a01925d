"""What a student is asked for: the losses of distillation, averaged over the batch.

Logits are [N, classes], labels int64 [N]. With p the teacher's and q the student's softened answers, t the labelled
class, KL(p || q) falls into two parts (Zhao et al. 2022, arXiv:2203.08679, eq. 5): whether it is t at all, over
(p_t, 1 - p_t), and which of the other classes, over p_i / (1 - p_t), the latter weighted by 1 - p_t. A teacher that is
sure silences its second part. `Objective.DECOUPLED` gives both weights of their own:

    KD         KL((p_t, 1 - p_t) || (q_t, 1 - q_t)) + (1 - p_t) * KL(others of p || others of q)
    DECOUPLED  KL((p_t, 1 - p_t) || (q_t, 1 - q_t)) +     beta  * KL(others of p || others of q)

Function matching (`Objective.MATCHING`) is the first of them, but the teacher is taken for a function that can be asked
anywhere: both see the same views, mirrored, shifted and mixed anew in every step, and labels are not needed. It costs
a pass of the teacher in every step, and pays where training is long. Beyer et al. 2022, arXiv:2106.05237.
"""

from __future__ import annotations

from enum import StrEnum

import torch
from torch import Tensor
from torch.nn import functional

from orchestrator.compression.data import require_classes
from orchestrator.compression.errors import TrainingError

DECOUPLED_BETA = 2.0


class Objective(StrEnum):
    """How a student's answers are held against the teacher's."""

    KD = "kd"
    DECOUPLED = "decoupled"
    MATCHING = "function-matching"


def distillation_loss(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    temperature: float,
    alpha: float,
    objective: Objective = Objective.KD,
) -> Tensor:
    """`alpha` of the objective, and 1 - alpha of the cross-entropy to the labels.

    Raises:
        TrainingError: the two answer with different classes.
        DataError: a label that counts is none of them.
    """
    _require_one_shape(student, teacher)
    if alpha < 1 or objective is Objective.DECOUPLED:
        require_classes(labels, student.shape[1])
    if objective is Objective.DECOUPLED:
        soft = decoupled_divergence(student, teacher, labels, temperature)
    else:
        soft = soft_divergence(student, teacher, temperature)
    if alpha == 1:
        return soft
    return alpha * soft + (1 - alpha) * functional.cross_entropy(student, labels)


def soft_divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 * KL(softmax(teacher / T) || softmax(student / T))."""
    _require_one_shape(student, teacher)
    divergence = functional.kl_div(
        functional.log_softmax(student / temperature, dim=1),
        functional.log_softmax(teacher / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    return temperature**2 * divergence


def decoupled_divergence(
    student: Tensor, teacher: Tensor, labels: Tensor, temperature: float, beta: float = DECOUPLED_BETA
) -> Tensor:
    """The module's second equation, times T^2."""
    _require_one_shape(student, teacher)
    log_p, log_q = (functional.log_softmax(logits / temperature, dim=1) for logits in (teacher, student))
    is_target = functional.one_hot(labels, student.shape[1]).bool()
    target = _kl(_target_and_rest(log_p, is_target), _target_and_rest(log_q, is_target))
    others = _kl(_others(log_p, is_target), _others(log_q, is_target))
    return temperature**2 * (target + beta * others)


def _require_one_shape(student: Tensor, teacher: Tensor) -> None:
    if student.shape != teacher.shape:
        raise TrainingError(f"the student answers {tuple(student.shape)}, the teacher {tuple(teacher.shape)}")


def _target_and_rest(log_p: Tensor, is_target: Tensor) -> Tensor:
    """[N, 2]: logarithms of p_t and 1 - p_t, the latter summed over the other classes, which loses nothing near 1."""
    rest = torch.logsumexp(log_p.masked_fill(is_target, -torch.inf), dim=1)
    return torch.stack([log_p[is_target], rest], dim=1)


def _others(log_p: Tensor, is_target: Tensor) -> Tensor:
    """[N, classes - 1]: the distribution over the classes that are not the target."""
    rest = log_p[~is_target].view(len(log_p), -1)
    return functional.log_softmax(rest, dim=1)


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    return functional.kl_div(log_q, log_p, reduction="batchmean", log_target=True)
