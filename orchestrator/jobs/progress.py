"""How far a job is: stages weighted by the time they usually take, and the actor that workers tell.

The weights are for a progress bar and nothing else depends on them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

_REPORT_INTERVAL_S = 0.3


@dataclass(frozen=True)
class StageProgress:
    fraction: float = 0.0  # 0..1 of the stage
    words: str = ""


@dataclass(frozen=True)
class ProgressPlan:
    """Which stages a job has, in order, and how much of the bar each is."""

    weights: Mapping[str, float]

    def total(self, stages: Mapping[str, StageProgress]) -> float:
        """0..1 of the whole job."""
        whole = sum(self.weights.values())
        return (
            sum(self.weights[name] * stage.fraction for name, stage in stages.items() if name in self.weights) / whole
        )

    def under_way(self, stages: Mapping[str, StageProgress]) -> tuple[str, str]:
        """Names of the stages that have begun and not ended, and the last thing one of them said."""
        running = [name for name in self.weights if name in stages and stages[name].fraction < 1.0]
        words = [stages[name].words for name in running if stages[name].words]
        return ", ".join(running), "; ".join(words)


class ProgressBoard:
    """What the stages of one job last said. An actor, because stages run in processes on any node."""

    def __init__(self) -> None:
        self._stages: dict[str, StageProgress] = {}

    def put(self, stage: str, progress: StageProgress) -> None:
        self._stages[stage] = progress

    def snapshot(self) -> dict[str, StageProgress]:
        return dict(self._stages)


@dataclass
class StageReporter:
    """Tells the board about one stage, not more often than a person can read; picklable, so that workers get it."""

    board: Any  # a handle of ProgressBoard
    stage: str
    _last_s: float = field(default=0.0, repr=False)

    def __call__(self, fraction: float, words: str = "") -> None:
        now = time.monotonic()
        if fraction < 1.0 and now - self._last_s < _REPORT_INTERVAL_S:
            return
        self._last_s = now
        self.board.put.remote(self.stage, StageProgress(min(max(fraction, 0.0), 1.0), words))

    def part(self, start: float, end: float) -> Callable[[float, str], None]:
        """The same stage for work that is only a part of it."""

        def report(fraction: float, words: str = "") -> None:
            self(min(start + (end - start) * fraction, 0.999), words)

        return report
