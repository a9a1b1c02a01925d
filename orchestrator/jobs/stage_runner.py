"""Runs the stages of one job by their keys, and knows how far each is.

What a stage needs and makes is the pipeline's; here is what all stages have in common: the part of the key that is the
same for the whole job, the question whether it has run already, and progress.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.jobs.code_version import job_code_digest, library_versions
from orchestrator.jobs.progress import ProgressPlan, StageProgress
from orchestrator.jobs.ray_runner import RayRunner
from orchestrator.jobs.stages import StageInputs, StageOutput, StageStore, run_stage

logger = logging.getLogger(__name__)


class StageRunner:
    """Thread-safe: candidates run beside each other, and another thread reads the progress."""

    def __init__(self, store: StageStore, ray_runner: RayRunner, plan: ProgressPlan, *, code: str, seed: int) -> None:
        self._store = store
        self._ray_runner = ray_runner
        self._plan = plan
        self._code = job_code_digest(code)
        self._seed = seed
        self._told: dict[str, StageProgress] = {}
        self._lock = threading.Lock()
        self._turns: dict[str, threading.Lock] = {}  # by key of a stage

    def inputs(
        self, name: str, *, data: str, parameters: Mapping[str, Any] | None = None, seeded: bool = True, **digests: str
    ) -> StageInputs:
        """The inputs of a stage of this job; `digests` are outputs of earlier stages, by role."""
        return StageInputs(
            name=name,
            code=self._code,
            versions=library_versions(),
            data=data,
            seed=self._seed if seeded else 0,
            parameters=parameters or {},
            inputs=digests,
        )

    def run(self, stage: str, inputs: StageInputs, run: Callable[[], StageOutput]) -> StageOutput:
        """The stage's output, from the store or by running it; `stage` is what people see.

        Of threads that want the same stage one runs it, and the others wait for what it makes: trials that differ in
        bits alone share a pruned network.
        """

        def announced() -> StageOutput:
            self._ray_runner.reporter(stage)(0.0)  # from here on the workers tell how far it is
            logger.info("%s: running, key %s", stage, inputs.key()[:12])
            return run()

        with self._lock:
            turn = self._turns.setdefault(inputs.key(), threading.Lock())
        with turn:
            return run_stage(self._store, inputs, announced)

    def tell(self, stage: str, fraction: float, words: str = "") -> None:
        with self._lock:
            self._told[stage] = StageProgress(fraction, words)

    def done(self, *stages: str) -> None:
        for stage in stages:
            self.tell(stage, 1.0)

    def progress(self) -> tuple[str, float, str]:
        """Stages under way, 0..1 of the job, and the last words."""
        by_workers = self._ray_runner.progress()
        with self._lock:
            stages = by_workers | self._told
        names, words = self._plan.under_way(stages)
        return names or "starting", self._plan.total(stages), words
