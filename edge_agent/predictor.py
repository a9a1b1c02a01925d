"""One verified model answering one sample: class, confidence and engine time."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from edge_agent.runtime.graph import Softmax
from edge_agent.verify import VerifiedModel


@dataclass(frozen=True, slots=True)
class Prediction:
    q: bytes
    """int8 output."""
    predicted: int
    """Index of the largest output; the lowest of equals."""
    confidence: float
    """Probability of the predicted class."""
    engine_us: float


class Predictor:
    def __init__(self, model: VerifiedModel) -> None:
        graph = model.engine.graph
        activation = graph.output_activation
        producers = [op.kind for op in graph.operators if op.output == graph.output.activation]
        self.model = model
        self.classes = activation.elements
        self._engine = model.engine
        self._scale = activation.scale
        self._zero_point = activation.zero_point
        self._is_probability = any(isinstance(kind, Softmax) for kind in producers)
        # exp of how far an output lies below the largest one, by the difference of their integers
        self._exponentials = [math.exp(-difference * self._scale) for difference in range(256)]

    def predict(self, x: bytes | memoryview, *, raw: bool) -> Prediction:
        """Run one sample, of uint8 where `raw`, else of float32; raises InputError where it is not a valid input."""
        infer = self._engine.infer_raw if raw else self._engine.infer_float
        begun = time.perf_counter_ns()
        q = infer(x)
        engine_ns = time.perf_counter_ns() - begun
        values = memoryview(q).cast("b").tolist()
        largest = max(values)
        return Prediction(q, values.index(largest), self._confidence(values, largest), engine_ns / 1000)

    def _confidence(self, values: list[int], largest: int) -> float:
        if self._is_probability:
            return min(1.0, max(0.0, (largest - self._zero_point) * self._scale))
        exponentials = self._exponentials
        return 1.0 / sum(exponentials[largest - value] for value in values)
