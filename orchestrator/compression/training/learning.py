"""How a student learns from a teacher: the settings that training back after pruning shares with plain distillation."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from orchestrator.compression.errors import TrainingError
from orchestrator.compression.training.augment import Views
from orchestrator.compression.training.objectives import Objective


@dataclass(frozen=True, kw_only=True)
class Learning:
    """Settings of `distillation.distill`; those of the schedule are checked where it begins.

    Attributes:
        epochs: passes over the split.
        learning_rate: peak of the schedule.
        temperature: T of the softened answers.
        alpha: weight of the soft part, 0..1; the labels have the rest, and are not read where it is 1.
        views: what `Objective.MATCHING` may do to a sample.
        seed: of the order, of dropout and of views.

    Raises:
        TrainingError: temperature or alpha is out of range.
    """

    epochs: int
    batch_size: int = 128
    learning_rate: float = 0.05
    temperature: float = 4.0
    alpha: float = 0.7
    objective: Objective = Objective.KD
    views: Views = field(default_factory=Views)
    seed: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0) or not 0 <= self.alpha <= 1:
            raise TrainingError(f"temperature must be positive and alpha within 0..1: {self.temperature}, {self.alpha}")
