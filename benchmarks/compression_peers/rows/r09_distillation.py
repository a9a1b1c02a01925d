"""Row 9: a student of a tenth of the teacher's multiplications, with the teacher and without.

Both students start from the same weights and take as many steps over batches of one size (the one alone with few images
2 % more, because its epochs end in smaller batches). With all labels, the one alone learns from labels and the other
from labels and the teacher. With a tenth of the labels, the one alone has only those images; the teacher, which was
trained on all labels, answers for every image to the other, which sees no label. Accuracy is that of the float
networks: this row is about training.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from compression_peers.bench import Bench, Spent, Subject
from compression_peers.networks import STUDENTS
from compression_peers.results import Outcome, Results, lower_bound_95
from compression_peers.row import Check, Row, above, at_least
from orchestrator.compression.evaluation import predict_logits
from orchestrator.compression.training.classifier import train_classifier
from orchestrator.compression.training.distillation import distill
from orchestrator.compression.training.learning import Learning

STUDENT_SEEDS = (0, 1, 2, 3, 4)
FEW_SEEDS = STUDENT_SEEDS[:3]  # where the gain is several points, three say enough
EPOCHS = 5
LEARNING_RATE = 0.1
FEW = 0.1  # of the labels
ALONE, TAUGHT = "student alone", "student under the teacher"
ALONE_FEW, TAUGHT_FEW = "student alone, a tenth of the labels", "student under the teacher, no labels"


def run(bench: Bench) -> Iterator[Outcome]:
    trainings = [
        Training(network, bench.seeds[0], student_seed, method)
        for network in ROW.networks
        if network in bench.networks
        for student_seed in STUDENT_SEEDS
        for method in (ALONE, TAUGHT, *((ALONE_FEW, TAUGHT_FEW) if student_seed in FEW_SEEDS else ()))
    ]
    yield from bench.side_by_side(_trained, trainings)


@dataclass(frozen=True)
class Training:
    """Of one student; `seed` is the teacher's."""

    network: str
    seed: int
    student_seed: int
    method: str


def _trained(bench: Bench, training: Training) -> Outcome:
    teacher, seed, method = bench.subject(training.network, training.seed), training.student_seed, training.method
    torch.manual_seed(seed)
    student, spent = STUDENTS[teacher.network]().to(memory_format=torch.channels_last), Spent()
    with spent:
        _train(student, teacher, seed, method)
    return teacher.simulated(ROW.number, method, student, before=spent, seed=seed)


def _train(student: nn.Module, teacher: Subject, seed: int, method: str) -> None:
    train, preprocessing = teacher.data.splits.train, teacher.data.preprocessing

    def say(done: float, message: str) -> None:
        teacher.say(f"{method}, student's seed {seed}: {message}")

    if method in (TAUGHT, TAUGHT_FEW):
        alpha = 0.7 if method == TAUGHT else 1.0
        learning = Learning(epochs=EPOCHS, learning_rate=LEARNING_RATE, alpha=alpha, seed=seed)
        answers = _answers(teacher)
        distill(
            student, teacher.model, train, learning,
            preprocessing=preprocessing, answers=answers, on_progress=say,
        )  # fmt: skip
    else:
        few = np.random.default_rng(seed).permutation(len(train))[: round(FEW * len(train))]
        split, epochs = (train, EPOCHS) if method == ALONE else (train.take(few), round(EPOCHS / FEW))
        train_classifier(
            student, split,
            preprocessing=preprocessing, epochs=epochs, learning_rate=LEARNING_RATE, seed=seed, on_progress=say,
        )  # fmt: skip


def _answers(teacher: Subject) -> torch.Tensor:
    """Its logits for all training images, which every student learns from."""
    inputs, preprocessing = teacher.data.splits.train.inputs, teacher.data.preprocessing
    key = ("answers", teacher.network, teacher.seed)
    return teacher.bench.kept(key, lambda: predict_logits(teacher.model, inputs, preprocessing))


def judge(results: Results, networks: Sequence[str]) -> list[Check]:
    checks = []
    for network in networks:
        gains = results.gains(ROW.number, network, TAUGHT, over=ALONE)
        enough = len(gains) == len(STUDENT_SEEDS)
        bound = lower_bound_95(gains) if enough else float("nan")
        checks.append(above(f"{network}: lower 95 % bound of the points gained, all labels", bound, 0))
        few = results.gains(ROW.number, network, TAUGHT_FEW, over=ALONE_FEW)
        mean = float(np.mean(few)) if len(few) == len(FEW_SEEDS) else float("nan")
        checks.append(at_least(f"{network}: points gained with a tenth of the labels", mean, 1.0))
    return checks


ROW = Row(
    number=9,
    title="KD at a tenth of the teacher's MACs",
    target=(
        "all labels: the lower 95 % bound of the gain over the same student alone is above 0 (5 paired seeds, equal "
        "steps); with 10 % of the labels, the teacher answering for the rest: at least 1.0 point"
    ),
    run=run,
    judge=judge,
)
