"""A candidate that trains while it is quantized: its recipe, and where its training goes on."""

from __future__ import annotations

import dataclasses
import hashlib

from orchestrator.compression.qat import Saved
from orchestrator.compression.recipe import Effort, QuantizedTraining, Recipe, Scheme
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


def test_another_worker_goes_on_where_the_last_epoch_was_kept() -> None:
    store = Store()
    recipe = dataclasses.replace(recipe_for(SPEC, seed=7), layer_bits=(("stem", 4),))
    first = QuantizedEpochs(store, STAGE, b"float weights")
    assert first.latest() is None
    first.keep(Saved(1, b"after one", recipe))
    first.keep(Saved(2, b"after two", recipe))
    assert QuantizedEpochs(store, STAGE, b"float weights").latest() == Saved(2, b"after two", recipe)


def test_another_network_or_other_parameters_begin_anew() -> None:
    store = Store()
    QuantizedEpochs(store, STAGE, b"float weights").keep(Saved(1, b"after one", Recipe()))
    assert QuantizedEpochs(store, STAGE, b"pruned otherwise").latest() is None
    assert QuantizedEpochs(store, dataclasses.replace(STAGE, seed=8), b"float weights").latest() is None


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
