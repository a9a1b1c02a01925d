from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from orchestrator.compression.data import Preprocessing, images_to_tensor
from orchestrator.compression.errors import DataError, PreprocessingError, TrainingError, WeightError
from orchestrator.compression.evaluation import evaluate_network, predict_logits
from orchestrator.compression.training.augment import Views, mirrored, mixed, shifted
from orchestrator.compression.training.classifier import train_classifier
from orchestrator.compression.training.distillation import distill
from orchestrator.compression.training.learning import Learning
from orchestrator.compression.training.loop import Schedule
from orchestrator.compression.training.objectives import (
    Objective,
    decoupled_divergence,
    distillation_loss,
    soft_divergence,
)
from orchestrator.datasets import Split, Splits
from orchestrator.datasets.corruptions import Corruption
from tests.unit.compression.networks import small_network

Trained = Callable[[str], nn.Module]


def test_training_reaches_a_useful_accuracy_and_reports_progress_to_the_end(
    trained: Trained, digits: Splits, preprocessing: Preprocessing
) -> None:
    network = small_network()
    seen: list[float] = []
    train_classifier(
        network,
        digits.train,
        preprocessing=preprocessing,
        epochs=4,
        batch_size=64,
        learning_rate=0.1,
        on_progress=lambda done, message: seen.append(done),
    )
    assert evaluate_network(network, digits.choose, preprocessing=preprocessing).accuracy > 0.9
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert not network.training


def test_the_same_seed_trains_the_same_weights(digits: Splits, preprocessing: Preprocessing) -> None:
    torch.manual_seed(0)
    first = small_network()
    second = copy.deepcopy(first)
    for network in (first, second):
        train_classifier(network, digits.train, preprocessing=preprocessing, epochs=1, batch_size=64, seed=5)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_loss_that_is_not_finite_ends_training(digits: Splits, preprocessing: Preprocessing) -> None:
    with pytest.raises(TrainingError, match="lower the learning rate"):
        train_classifier(small_network(), digits.train, preprocessing=preprocessing, epochs=5, learning_rate=1e6)


def test_workers_share_an_epoch_between_them_in_equally_many_batches() -> None:
    shares = []
    for rank in range(2):
        schedule = Schedule(epochs=1, batch_size=8, learning_rate=0.1, seed=3, rank=rank, world_size=2)
        shares.append([indices for _, indices in schedule.batches(52)])
    assert len(shares[0]) == len(shares[1]) == schedule.steps_per_epoch(52) == 4
    everything = torch.cat(shares[0] + shares[1])
    assert len(set(everything.tolist())) == len(everything) == 52


def test_an_interrupted_run_goes_on_with_the_order_it_would_have_had() -> None:
    whole = Schedule(epochs=3, batch_size=16, learning_rate=0.1, seed=3)
    rest = Schedule(epochs=3, batch_size=16, learning_rate=0.1, seed=3, first_epoch=2)
    expected = [indices for epoch, indices in whole.batches(40) if epoch == 2]
    for a, b in zip(expected, (indices for _, indices in rest.batches(40)), strict=True):
        assert torch.equal(a, b)


def test_impossible_requests_are_refused(digits: Splits, preprocessing: Preprocessing) -> None:
    network = small_network()
    with pytest.raises(TrainingError, match="epochs"):
        train_classifier(network, digits.train, preprocessing=preprocessing, epochs=0)
    with pytest.raises(DataError, match="at least 2"):
        train_classifier(network, digits.train.take(slice(0, 1)), preprocessing=preprocessing, epochs=1)
    with pytest.raises(TrainingError, match="temperature"):
        distill(network, network, digits.train, Learning(epochs=1, temperature=0.0), preprocessing=preprocessing)
    with pytest.raises(PreprocessingError, match="1 channel"):
        images_to_tensor(digits.train.inputs, Preprocessing((0.5, 0.5, 0.5), (1.0, 1.0, 1.0)))
    with pytest.raises(PreprocessingError, match="positive"):
        Preprocessing((0.5,), (0.0,))


def test_the_distillation_loss_is_its_equation() -> None:
    torch.manual_seed(0)
    student, teacher, labels = torch.randn(5, 3), torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1])
    temperature, alpha = 3.0, 0.6
    p, q = torch.softmax(teacher / temperature, 1), torch.softmax(student / temperature, 1)
    soft = (p * (p / q).log()).sum(dim=1).mean()
    expected = alpha * temperature**2 * soft + (1 - alpha) * functional.cross_entropy(student, labels)
    assert torch.allclose(distillation_loss(student, teacher, labels, temperature, alpha), expected)


def test_decoupling_only_changes_how_the_other_classes_weigh() -> None:
    torch.manual_seed(0)
    student, teacher, labels = torch.randn(1, 4), torch.randn(1, 4), torch.tensor([2])
    weight_in_kd = 1 - float(torch.softmax(teacher / 3.0, dim=1)[0, 2])
    decoupled = decoupled_divergence(student, teacher, labels, 3.0, beta=weight_in_kd)
    assert torch.allclose(decoupled, soft_divergence(student, teacher, 3.0))


def test_a_teacher_that_is_sure_of_itself_still_says_which_other_class_is_near() -> None:
    teacher, labels = torch.tensor([[40.0, 4.0, 0.0]]), torch.tensor([0])
    right, wrong = torch.tensor([[40.0, 4.0, 0.0]]), torch.tensor([[40.0, 0.0, 4.0]])
    kd, decoupled = (
        [distillation_loss(student, teacher, labels, 1.0, 1.0, objective) for student in (right, wrong)]
        for objective in (Objective.KD, Objective.DECOUPLED)
    )
    assert kd[1] < 1e-6
    assert decoupled[0] < 1e-6
    assert decoupled[1] > 1


def test_function_matching_needs_no_labels(trained: Trained, digits: Splits, preprocessing: Preprocessing) -> None:
    teacher, student = trained("residual"), small_network(4)
    unlabelled = Split(digits.train.inputs, np.zeros_like(digits.train.labels))
    distill(
        student,
        teacher,
        unlabelled,
        Learning(
            epochs=14,
            batch_size=64,
            learning_rate=0.1,
            objective=Objective.MATCHING,
            views=Views(mirror=False, max_shift=0),
        ),
        preprocessing=preprocessing,
    )
    assert evaluate_network(student, digits.choose, preprocessing=preprocessing).accuracy > 0.8


def test_function_matching_refuses_samples_that_only_labels_explain(
    trained: Trained, digits: Splits, preprocessing: Preprocessing
) -> None:
    with pytest.raises(TrainingError, match="cannot know the labels"):
        distill(
            trained("small"),
            trained("residual"),
            digits.train,
            Learning(epochs=1, objective=Objective.MATCHING),
            preprocessing=preprocessing,
            extra=digits.choose,
        )


def test_views_are_mirrored_or_shifted_and_nothing_else() -> None:
    images = torch.arange(4 * 36, dtype=torch.float32).view(4, 1, 6, 6)
    generator = torch.Generator().manual_seed(1)
    for image, view in zip(images, mirrored(images, generator), strict=True):
        assert torch.equal(view, image) or torch.equal(view, image.flip(-1))
    padded = functional.pad(images, (2, 2, 2, 2), mode="replicate")
    offsets = [padded[..., top : top + 6, left : left + 6] for top in range(5) for left in range(5)]
    views = [shifted(images, 2, generator) for _ in range(8)]
    found = [[torch.equal(view, offset) for offset in offsets].index(True) for view in views]
    assert len(set(found)) > 1


def test_mixing_keeps_the_mean_of_a_batch() -> None:
    images = torch.rand(8, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    views = mixed(images, torch.Generator().manual_seed(3))
    assert torch.allclose(views.mean(), images.mean())
    assert not torch.equal(views, images)


def test_distillation_teaches_the_student_and_leaves_the_teacher_alone(
    trained: Trained, digits: Splits, preprocessing: Preprocessing
) -> None:
    teacher, student = trained("residual"), small_network(4)
    before = copy.deepcopy(teacher.state_dict())
    distill(
        student,
        teacher,
        digits.train,
        Learning(epochs=5, batch_size=64, learning_rate=0.1),
        preprocessing=preprocessing,
    )
    assert evaluate_network(student, digits.choose, preprocessing=preprocessing).accuracy > 0.9
    assert all(torch.equal(before[name], tensor) for name, tensor in teacher.state_dict().items())


def test_a_teacher_with_other_classes_is_refused(digits: Splits, preprocessing: Preprocessing) -> None:
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(64, 7))
    with pytest.raises(TrainingError, match="the student answers"):
        distill(small_network(4), teacher, digits.train, Learning(epochs=1), preprocessing=preprocessing)


@pytest.mark.parametrize(("label", "words"), [(10, "label 10 is none of the 10 classes"), (-100, "found -100")])
def test_labels_that_no_network_has_a_class_for_are_refused(
    digits: Splits, preprocessing: Preprocessing, label: int, words: str
) -> None:
    labels = digits.train.labels.copy()
    labels[0] = label
    wrong = Split(digits.train.inputs, labels)
    with pytest.raises(DataError, match=words):
        distill(small_network(4), small_network(), wrong, Learning(epochs=1), preprocessing=preprocessing)


def test_networks_that_are_not_finite_neither_teach_nor_learn(digits: Splits, preprocessing: Preprocessing) -> None:
    broken = small_network()
    next(buffer for name, buffer in broken.named_buffers() if name.endswith("running_var"))[0] = torch.inf
    for student, teacher in ((small_network(), broken), (broken, small_network())):
        with pytest.raises(WeightError, match="not finite"):
            distill(student, teacher, digits.train, Learning(epochs=1), preprocessing=preprocessing)


def test_answers_that_are_known_teach_as_those_that_are_asked_for(
    trained: Trained, digits: Splits, preprocessing: Preprocessing
) -> None:
    teacher, asking, told = trained("residual"), small_network(4), small_network(4)
    told.load_state_dict(asking.state_dict())
    answers = predict_logits(teacher, digits.train.inputs, preprocessing)
    distill(asking, teacher, digits.train, Learning(epochs=1), preprocessing=preprocessing)
    distill(told, teacher, digits.train, Learning(epochs=1), preprocessing=preprocessing, answers=answers)
    assert all(torch.equal(asking.state_dict()[name], tensor) for name, tensor in told.state_dict().items())


def test_answers_to_other_samples_are_refused(trained: Trained, digits: Splits, preprocessing: Preprocessing) -> None:
    teacher = trained("residual")
    answers = predict_logits(teacher, digits.choose.inputs, preprocessing)
    with pytest.raises(TrainingError, match="answers are not those"):
        distill(
            small_network(4), teacher, digits.train, Learning(epochs=1), preprocessing=preprocessing, answers=answers
        )


def test_a_few_labelled_samples_repair_a_degraded_camera_without_forgetting_clean_images(
    trained: Trained, digits: Splits, preprocessing: Preprocessing
) -> None:
    corruption = Corruption((("contrast", 0.75), ("brightness", 60)))
    returned = Split(corruption.apply(digits.choose.inputs[:150]), digits.choose.labels[:150])
    judged = Split(corruption.apply(digits.certify.inputs), digits.certify.labels)
    teacher, student = trained("residual"), trained("small")
    broken = evaluate_network(student, judged, preprocessing=preprocessing).accuracy
    clean = evaluate_network(student, digits.certify, preprocessing=preprocessing).accuracy
    distill(
        student,
        teacher,
        digits.train,
        Learning(epochs=3, batch_size=64),
        preprocessing=preprocessing,
        extra=returned,
    )
    assert evaluate_network(student, judged, preprocessing=preprocessing).accuracy > broken + 0.15
    assert evaluate_network(student, digits.certify, preprocessing=preprocessing).accuracy > clean - 0.03


def test_an_empty_repair_set_is_an_error_and_not_ignored(
    trained: Trained, digits: Splits, preprocessing: Preprocessing
) -> None:
    empty = Split(np.empty((0, 8, 8, 1), np.uint8), np.empty(0, np.int64))
    with pytest.raises(DataError, match="repair"):
        distill(
            trained("small"),
            trained("small"),
            digits.train,
            Learning(epochs=1),
            preprocessing=preprocessing,
            extra=empty,
        )
