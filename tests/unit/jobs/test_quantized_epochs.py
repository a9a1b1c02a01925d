"""A candidate that trains while it is quantized: its recipe, and where its training goes on."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

import pytest
from torch import nn

from orchestrator.compression.qat import Saved
from orchestrator.compression.recipe import Effort, QuantizedTraining, Recipe, Scheme
from orchestrator.jobs.errors import TrialStoppedError
from orchestrator.jobs.quantized_training import QuantizedEpochs, recipe_for
from orchestrator.jobs.stages import Blob, StageInputs, StageRecord
from orchestrator.spec import QuantizedTrainingSpec, QuantizeSpec

SPEC = QuantizeSpec(weight_bits=2, training=QuantizedTrainingSpec(epochs=3))
STAGE = StageInputs(
    name="candidate", code="c0", versions={}, data="d0", parameters={"quantize": dataclasses.asdict(SPEC)}
)


class Store:
    def __init__(self) -> None:
        self.records: dict[str, StageRecord] = {}
        self.blobs: dict[str, bytes] = {}

    def get_stage(self, key: str) -> StageRecord | None:
        return self.records.get(key)

    def put_stage(self, record: StageRecord) -> StageRecord:
        return self.records.setdefault(record.key, record)

    def get_blob(self, digest: str) -> bytes:
        return self.blobs[digest]

    def put_blob(self, content: bytes) -> Blob:
        digest = hashlib.sha256(content).hexdigest()
        self.blobs[digest] = content
        return Blob(digest=digest, size_bytes=len(content))


NETWORK = nn.Identity()


def epochs(
    store: Store,
    *accuracies: float,
    stage: StageInputs = STAGE,
    weights: bytes = b"float weights",
    hurdles: Sequence[float] = (),
) -> QuantizedEpochs:
    """Of a training that is as accurate as this after one epoch after another."""
    answers = iter(accuracies)
    return QuantizedEpochs(store, stage, weights, judge=lambda network: next(answers), hurdles=hurdles)


def test_another_worker_goes_on_where_the_last_epoch_was_kept() -> None:
    store = Store()
    recipe = dataclasses.replace(recipe_for(SPEC, seed=7), layer_bits=(("stem", 4),))
    first = epochs(store, 0.5, 0.6)
    assert first.latest() is None
    first.keep(Saved(1, b"after one", recipe), NETWORK)
    first.keep(Saved(2, b"after two", recipe), NETWORK)
    second = epochs(store, 0.7)
    assert second.latest() == Saved(2, b"after two", recipe)
    second.keep(Saved(3, b"after three", recipe), NETWORK)
    assert second.curve == [0.5, 0.6, 0.7]


def test_another_network_or_other_parameters_begin_anew() -> None:
    store = Store()
    epochs(store, 0.5).keep(Saved(1, b"after one", Recipe()), NETWORK)
    assert epochs(store, weights=b"pruned otherwise").latest() is None
    assert epochs(store, stage=dataclasses.replace(STAGE, seed=8)).latest() is None


def test_a_training_that_is_below_its_hurdle_is_given_up_and_stays_given_up_whichever_worker_goes_on() -> None:
    store = Store()
    training = epochs(store, 0.5, 0.59, hurdles=(0.5, 0.6))
    training.keep(Saved(1, b"after one", Recipe()), NETWORK)
    with pytest.raises(TrialStoppedError, match=r"accuracy 0\.5900 after epoch 2 of 3 .* at least 0\.6000"):
        training.keep(Saved(2, b"after two", Recipe()), NETWORK)
    with pytest.raises(TrialStoppedError, match="after epoch 2 of 3"):
        epochs(store, hurdles=(0.5, 0.6)).latest()
    assert epochs(store).latest() == Saved(2, b"after two", Recipe())  # for a job that asks for it all the same


def test_a_training_that_has_ended_is_kept_however_accurate_it_is() -> None:
    training = epochs(Store(), 0.5, 0.6, 0.1, hurdles=(0.5, 0.6))
    for done in (1, 2, 3):
        training.keep(Saved(done, b"weights", Recipe()), NETWORK)
    assert training.curve == [0.5, 0.6, 0.1]


def test_a_recipe_is_what_the_document_asks_for() -> None:
    assert recipe_for(QuantizeSpec(), seed=1) == Recipe()
    spec = QuantizeSpec(scheme="power-of-two", mean_bits=3.5, effort="high", training=QuantizedTrainingSpec(epochs=2))
    recipe = recipe_for(spec, seed=5)
    assert recipe == Recipe(
        scheme=Scheme.POWER_OF_TWO,
        mean_bits=3.5,
        effort=Effort.HIGH,
        training=QuantizedTraining(epochs=2, seed=5),
    )
    by_hand = recipe_for(QuantizeSpec(weight_bits=4, layer_bits={"stem": 8}, calibration_count=64), seed=5)
    assert by_hand == Recipe(weight_bits=4, layer_bits=(("stem", 8),), calibration_count=64)
