"""Returned samples: what is learned from is never judged by, and nothing that judges is learned from."""

from __future__ import annotations

import pytest

from orchestrator.datasets.digits import load_digits
from orchestrator.datasets.splits import require_disjoint
from orchestrator.jobs.errors import JobFailedError
from orchestrator.jobs.repair_data import ReturnedSample, divide_returned, mixed_calibration, sample_of

SPLITS = load_digits()
NEGATIVES = [
    ReturnedSample((255 - image).tobytes(), int(label))
    for image, label in zip(SPLITS.train.inputs[:200], SPLITS.train.labels[:200], strict=True)
]


def test_samples_are_divided_by_content_whatever_their_order() -> None:
    data, again = divide_returned(NEGATIVES, SPLITS), divide_returned(reversed(NEGATIVES), SPLITS)
    assert data.digest() == again.digest()
    require_disjoint(train=data.train, held_out=data.held_out)
    assert len(data.train) + len(data.held_out) == 200
    assert 25 <= len(data.held_out) <= 80


@pytest.mark.parametrize("split", ["train", "choose", "certify"])
def test_a_sample_that_is_in_a_split_already_is_left_out(split: str) -> None:
    known = SPLITS.named()[split].inputs[0].tobytes()
    data = divide_returned([*NEGATIVES, ReturnedSample(known, 1)], SPLITS)
    assert data.refused == 1
    assert data.digest() == divide_returned(NEGATIVES, SPLITS).digest()


def test_samples_of_another_shape_or_label_are_left_out_and_repeats_count_once() -> None:
    strange = [ReturnedSample(b"", 1), ReturnedSample(bytes(63), 1), ReturnedSample(bytes(64), 10)]
    data = divide_returned([*NEGATIVES, *strange, *NEGATIVES], SPLITS)
    assert data.digest() == divide_returned(NEGATIVES, SPLITS).digest()


def test_the_last_label_of_an_input_counts() -> None:
    corrected = ReturnedSample(NEGATIVES[0].raw, (NEGATIVES[0].label + 1) % 10)
    data = divide_returned([*NEGATIVES, corrected], SPLITS)
    labels = {
        image.tobytes(): int(label)
        for split in (data.train, data.held_out)
        for image, label in zip(split.inputs, split.labels, strict=True)
    }
    assert labels[corrected.raw] == corrected.label


def test_too_few_samples_end_the_job_with_their_number() -> None:
    with pytest.raises(JobFailedError, match="3 of 4 returned samples are usable"):
        divide_returned([*NEGATIVES[:3], ReturnedSample(b"", 0)], SPLITS)


def test_calibration_sees_both_worlds_from_its_first_samples_on() -> None:
    returned = divide_returned(NEGATIVES, SPLITS).train
    mixed = mixed_calibration(SPLITS.calibrate, returned, seed=1)
    assert len(mixed) == len(SPLITS.calibrate) + min(len(returned), len(SPLITS.calibrate))
    first = mixed.take(slice(0, 20))
    assert len(first.input_digests & returned.input_digests) == 10
    assert len(first.input_digests & SPLITS.calibrate.input_digests) == 10


def test_a_sample_of_a_split_is_the_same_for_the_same_seed() -> None:
    few = sample_of(SPLITS.train, 50, seed=3)
    assert len(few) == 50
    assert few.digest() == sample_of(SPLITS.train, 50, seed=3).digest()
    assert few.digest() != sample_of(SPLITS.train, 50, seed=4).digest()
    assert sample_of(SPLITS.train, 10_000, seed=3) is SPLITS.train
