"""What serves on this device: the current model, the one on probation beside it, and the counting around them.

Knows nothing of gRPC (`service.py`) or of how a model came here (`agent.py`). Everything runs on the event loop: a
thread more would cost memory, and engine times stay free of each other.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from edge_agent.errors import InputError, NotReadyError
from edge_agent.feedback import LateLabel, PendingLabel, PendingLabels
from edge_agent.life import ProbationTerms
from edge_agent.predictor import Prediction, Predictor
from edge_agent.probation import PairedProbation
from edge_agent.samples import SampleKeeper
from edge_agent.telemetry import WindowRecorder, wall_clock_ms
from edge_agent.tensors import Batch
from edge_agent.verify import VerifiedModel

logger = logging.getLogger(__name__)

YIELD_EVERY_S = 0.01
"""A long batch lets other work in this often."""


@dataclass(frozen=True, slots=True)
class Answer:
    request_id: str
    model: VerifiedModel
    predictions: list[Prediction]


@dataclass(frozen=True, slots=True)
class LabelOutcome:
    matched: bool
    input_kept: bool


class ModelHost:
    """Holds the loaded models. `on_pair` is called after requests and labels that a probation saw."""

    def __init__(
        self,
        recorder: WindowRecorder,
        pending: PendingLabels,
        samples: SampleKeeper,
        *,
        latency_limit_ms: float = 0.0,
        on_pair: Callable[[PairedProbation], None] = lambda probation: None,
    ) -> None:
        self._recorder = recorder
        self._pending = pending
        self._samples = samples
        self._latency_limit_ms = latency_limit_ms
        self._on_pair = on_pair
        self._current: Predictor | None = None
        self._activated: Predictor | None = None
        self.name = ""
        self.probation: PairedProbation | None = None

    @property
    def current(self) -> VerifiedModel | None:
        return self._current.model if self._current else None

    @property
    def activated(self) -> VerifiedModel | None:
        return self._activated.model if self._activated else None

    def serve(self, model: VerifiedModel) -> None:
        """Answer with this model from the next request on."""
        self._current = Predictor(model)
        self.name = model.engine.graph.name
        logger.info("serving model %s %s on engine path %s", self.name, model.digest[:12], model.engine.path)

    def activate(self, model: VerifiedModel) -> None:
        """Have a model loaded and ready beside the current one."""
        self._activated = Predictor(model)

    def start_pairing(self, terms: ProbationTerms, counts: bytes) -> None:
        """Let the activated model answer along with the current one."""
        if self._current is None or self._activated is None:
            raise NotReadyError("a probation needs a current and an activated model")
        self.probation = PairedProbation(
            self._current, self._activated, terms, latency_limit_ms=self._latency_limit_ms, counts=counts
        )

    def promote(self) -> None:
        """Serve the activated model."""
        if self._activated is None:
            raise NotReadyError("no model is activated")
        self.serve(self._activated.model)
        self.revert()

    def revert(self) -> None:
        """Drop the activated model; the current one serves on."""
        self._activated = None
        self.probation = None

    def require_current(self) -> VerifiedModel:
        if self._current is None:
            raise NotReadyError("no model serves on this device yet")
        return self._current.model

    async def infer(self, request_id: str, batch: Batch, begun: float) -> Answer:
        """Answer a batch with one and the same model, whatever happens meanwhile.

        Args:
            request_id: empty for one made here. Sample i of a larger batch is known to feedback as `<id>/<i>`.
            batch: the samples.
            begun: `time.perf_counter()` when the request arrived.

        Raises:
            InputError: a sample is not a valid input; nothing of the batch is answered.
        """
        predictor, probation = self._current, self.probation
        if predictor is None:
            raise NotReadyError("no model serves on this device yet")
        request_id = request_id or os.urandom(16).hex()
        predictions = []
        paused = time.perf_counter()
        for index in range(batch.samples):
            sample_id = request_id if batch.samples == 1 else f"{request_id}/{index}"
            predictions.append(self._predict(predictor, probation, sample_id, batch[index], raw=batch.raw))
            if batch.samples > 1 and time.perf_counter() - paused > YIELD_EVERY_S:
                await asyncio.sleep(0)
                paused = time.perf_counter()
        self._recorder.answered(predictor.model.digest, (time.perf_counter() - begun) * 1e6)
        if probation is not None and probation is self.probation:
            self._on_pair(probation)
        return Answer(request_id, predictor.model, predictions)

    def label(self, request_id: str, label: int) -> LabelOutcome:
        """Count the true label of an earlier request.

        Raises:
            InputError: the model that answered has no such class.
        """
        try:
            pending = self._pending.take(request_id, time.monotonic())
        except LateLabel:
            self._recorder.label_late()
            return LabelOutcome(False, False)
        if pending is None:
            self._recorder.label_unmatched()
            return LabelOutcome(False, False)
        if label >= pending.classes:
            raise InputError(f"the model has {pending.classes} classes, so {label} is none of them")
        correct = pending.predicted == label
        self._recorder.labelled(pending.digest, correct=correct)
        if self.probation is not None and pending.probation is self.probation and pending.new_predicted is not None:
            self.probation.label(old_correct=correct, new_correct=pending.new_predicted == label)
            self._on_pair(self.probation)
        return LabelOutcome(True, self._samples.keep(pending, label))

    def _predict(
        self,
        predictor: Predictor,
        probation: PairedProbation | None,
        sample_id: str,
        x: memoryview,
        *,
        raw: bool,
    ) -> Prediction:
        new = None
        try:
            if probation is None:
                prediction = predictor.predict(x, raw=raw)
            else:
                prediction, new = probation.predict(x, raw=raw)
        except Exception:
            self._recorder.failed(predictor.model.digest)
            raise
        self._recorder.predicted(
            predictor.model.digest,
            engine_us=prediction.engine_us,
            predicted=prediction.predicted,
            confidence=prediction.confidence,
            classes=predictor.classes,
        )
        self._pending.add(
            sample_id,
            PendingLabel(
                digest=predictor.model.digest,
                predicted=prediction.predicted,
                classes=predictor.classes,
                answered_at=time.monotonic(),
                answered_at_ms=wall_clock_ms(),
                new_predicted=new.predicted if new else None,
                probation=probation,
                input=bytes(x) if self._samples.is_collecting else None,
                raw=raw,
            ),
        )
        return prediction
