"""What the demo says of the devices whose cameras stayed as they were."""

from __future__ import annotations

from examples.camera import wilson_interval
from examples.demo.cameras import CLEAN, Measured
from examples.demo.judgement import have_kept_their_accuracy


def counted(correct: int, images: int = 400) -> Measured:
    low, high = wilson_interval(correct, images)
    return Measured(
        device="gateway",
        model_version="ab" * 32,
        condition=CLEAN,
        images=images,
        correct=correct,
        accuracy=correct / images,
        accuracy_low=low,
        accuracy_high=high,
        returned_for_training=0,
        errors=0,
    )


def test_bad_luck_of_one_device_is_not_taken_for_a_loss() -> None:
    assert have_kept_their_accuracy([(counted(348), counted(350)), (counted(366), counted(336))])


def test_a_loss_beyond_the_margin_on_average_is_seen() -> None:
    assert not have_kept_their_accuracy([(counted(352), counted(330)), (counted(352), counted(328))])


def test_a_device_that_collapsed_does_not_hide_behind_one_that_gained() -> None:
    assert not have_kept_their_accuracy([(counted(320), counted(368)), (counted(352), counted(280))])
