"""A candidate's recipe from the job's document, and quantization-aware training that resumes at its last epoch, or is
given up at one.
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from torch import nn

from orchestrator.compression.qat import Saved
from orchestrator.compression.recipe import Effort, QuantizedTraining, Recipe, Scheme
from orchestrator.jobs.epochs import epoch_inputs, epochs_done
from orchestrator.jobs.errors import TrialStoppedError
from orchestrator.jobs.orders import CURVE
from orchestrator.jobs.stages import Blob, StageInputs, StageOutput, StageRecord, StageStore
from orchestrator.spec import QuantizeSpec

_EPOCH = "quantized-epoch"
_WEIGHTS = "checkpoint"


def recipe_for(spec: QuantizeSpec, *, seed: int) -> Recipe:
    """What a candidate's `quantize` section asks for."""
    training = None
    if spec.training is not None:
        training = QuantizedTraining(**dataclasses.asdict(spec.training), seed=seed % 2**31)
    return Recipe(
        scheme=Scheme(spec.scheme),
        weight_bits=spec.weight_bits,
        mean_bits=spec.mean_bits,
        weight_bytes=spec.weight_bytes,
        layer_bits=tuple(spec.layer_bits.items()),
        calibration_count=spec.calibration_count,
        effort=Effort(spec.effort),
        training=training,
    )


class EpochStore(StageStore, Protocol):
    """Stages by key and blobs by digest: the control plane, or a dictionary in a test."""

    def get_blob(self, digest: str) -> bytes: ...

    def put_blob(self, content: bytes) -> Blob: ...


class QuantizedEpochs:
    """`qat.Checkpoints` that any worker of the job finds.

    `network` are the float weights that training starts from: a pruned network that came out otherwise than in an
    earlier attempt does not go on with that one's epochs. `judge` says how accurate a network is, 0..1; one that is
    below its epoch's hurdle is not trained on, `curve` is what it said so far.
    """

    def __init__(
        self,
        store: EpochStore,
        stage: StageInputs,
        network: bytes,
        *,
        judge: Callable[[nn.Module], float],
        hurdles: Sequence[float] = (),
    ) -> None:
        digest = hashlib.sha256(network).hexdigest()
        self._store = store
        self._inputs = dataclasses.replace(stage, inputs={**stage.inputs, "network": digest})
        self._epochs = int(stage.parameters["quantize"]["training"]["epochs"])
        self._began_s = time.monotonic()
        self._judge, self._hurdles = judge, hurdles
        self.curve: list[float] = []

    def latest(self) -> Saved | None:
        done, output = epochs_done(self._store, _EPOCH, self._inputs, self._epochs)
        if output is None:
            return None
        self.curve = list(output.metrics[CURVE])
        self._require_hope()
        weights = self._store.get_blob(output.blobs[_WEIGHTS].digest)
        return Saved(done, weights, Recipe.from_json(str(output.metrics["recipe_json"])))

    def keep(self, saved: Saved, network: nn.Module) -> None:
        blob = self._store.put_blob(saved.weights)
        self.curve.append(self._judge(network))
        metrics = {"recipe_json": saved.recipe.to_json(), CURVE: list(self.curve)}
        output = StageOutput(blobs={_WEIGHTS: blob}, metrics=metrics)
        name = f"quantized epoch {saved.epochs_done}"
        key = epoch_inputs(_EPOCH, self._inputs, saved.epochs_done).key()
        duration_s, self._began_s = time.monotonic() - self._began_s, time.monotonic()
        self._store.put_stage(StageRecord(key=key, name=name, output=output, duration_s=duration_s))
        self._require_hope()

    def _require_hope(self) -> None:
        done, accuracy = len(self.curve), self.curve[-1]
        if done <= len(self._hurdles) and accuracy < self._hurdles[done - 1]:
            raise TrialStoppedError(
                f"accuracy {accuracy:.4f} after epoch {done} of {self._epochs} of training while quantized, where what"
                f" is of use has at least {self._hurdles[done - 1]:.4f}"
            )
