"""Runs the tasks of one job on a Ray cluster: the one place that says how many CPUs and threads a task gets.

Tasks take and return plain data; large arrays stay in Ray's object store and are passed on by reference.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray

from orchestrator.errors import OrchestratorError
from orchestrator.jobs.control_plane import Connection
from orchestrator.jobs.errors import ClusterError, JobFailedError
from orchestrator.jobs.orders import CandidateOrder, DataFacts, NetworkRef, PruneOrder, StudentOrder, TeacherOrder
from orchestrator.jobs.progress import ProgressBoard, StageProgress, StageReporter
from orchestrator.jobs.stages import StageInputs, StageOutput
from orchestrator.jobs.teacher import train_teacher
from orchestrator.jobs.worker import TaskContext
from orchestrator.spec import DataSpec, QuantizeSpec, TeacherSpec

_MAX_THREADS = 16  # more do not make small networks faster
_CONNECT_TIMEOUT_S = 60
_TASK_RETRIES = 2  # of a worker that died; what a task raises is not retried


class RayRunner:
    """A connection to a cluster, with the job's working directory on every worker's import path."""

    def __init__(self, connection: Connection, address: str, working_dir: Path) -> None:
        self._connection = connection
        try:
            ray.init(
                address=address,
                namespace=f"espalier-{connection.job_id}",
                runtime_env={"working_dir": str(working_dir)},
                logging_level=logging.ERROR,
                log_to_driver=False,
            )
        except Exception as error:  # Ray raises whatever its layers raised: ConnectionError, RuntimeError, ValueError
            raise ClusterError(f"Ray at {address} cannot be reached: {error}") from error
        self._board: Any = ray.remote(num_cpus=0)(ProgressBoard).remote()
        self._reported: dict[str, StageProgress] = {}

    def close(self) -> None:
        ray.shutdown()

    def progress(self) -> dict[str, StageProgress]:
        """What stages last said; the last known where the board does not answer at once."""
        with contextlib.suppress(ray.exceptions.RayError, TimeoutError):
            self._reported = ray.get(self._board.snapshot.remote(), timeout=1.0)
        return self._reported

    def reporter(self, stage: str) -> StageReporter:
        return StageReporter(self._board, stage)

    def load_data(self, spec: DataSpec) -> tuple[DataFacts, ray.ObjectRef[Any], ray.ObjectRef[Any]]:
        """The facts, and references to the splits without certify and to certify."""
        task = _task("training_tasks", "load_data", self._serial_cpus(), returns=3)
        facts, splits, certify = task.remote(self._context("data", self._serial_cpus()), spec)
        return _get(facts), splits, certify

    def load_returned(
        self,
        device_ids: list[str],
        splits: ray.ObjectRef[Any],
        certify: ray.ObjectRef[Any],
        *,
        data_digest: str,
        seed: int,
    ) -> tuple[DataFacts, ray.ObjectRef[Any], ray.ObjectRef[Any]]:
        """The facts, and references to a repair's splits and to the samples."""
        task = _task("training_tasks", "load_returned", 1, returns=3)
        context = self._context("returned samples", 1)
        facts, repair_splits, returned = task.remote(context, device_ids, splits, certify, data_digest, seed)
        return _get(facts), repair_splits, returned

    def train_teacher(
        self, spec: TeacherSpec, seed: int, inputs: StageInputs, splits: ray.ObjectRef[Any]
    ) -> StageOutput:
        cpus = self._serial_cpus() if spec.workers == 1 else min(1.0, self._all_cpus() / spec.workers)
        order = TeacherOrder(spec=spec, seed=seed, inputs=inputs, cpus_per_worker=cpus)
        try:
            return train_teacher(self._context("teacher", max(int(cpus), 1)), order, splits)
        except ray.exceptions.RayError as error:
            raise _typed(error) from error

    def distill_student(
        self, order: StudentOrder, splits: ray.ObjectRef[Any], returned: ray.ObjectRef[Any] | None
    ) -> StageOutput:
        cpus = self._serial_cpus()
        output: StageOutput = _get(
            _task("training_tasks", "distill_student", cpus).remote(
                self._context("student", cpus), order, splits, returned
            )
        )
        return output

    def make_candidate(
        self,
        stage: str,
        order: CandidateOrder,
        splits: ray.ObjectRef[Any],
        returned: ray.ObjectRef[Any] | None,
    ) -> StageOutput:
        output: StageOutput = _get(
            _task("compression_tasks", "make_candidate", 1).remote(self._context(stage, 1), order, splits, returned)
        )
        return output

    def judge_teacher(self, teacher: NetworkRef, splits: ray.ObjectRef[Any]) -> StageOutput:
        return self._run("trial_tasks", "judge_teacher", self._context("search", 1), teacher, splits)

    def prune_network(
        self, order: PruneOrder, splits: ray.ObjectRef[Any], returned: ray.ObjectRef[Any] | None
    ) -> StageOutput:
        return self._run("trial_tasks", "prune_network", self._context("trial", 1), order, splits, returned)

    def outline_candidate(self, order: CandidateOrder, splits: ray.ObjectRef[Any]) -> StageOutput:
        return self._run("trial_tasks", "outline_candidate", self._context("trial", 1), order, splits)

    def measure_divergence(
        self, network: NetworkRef, quantize: QuantizeSpec, splits: ray.ObjectRef[Any]
    ) -> StageOutput:
        return self._run("trial_tasks", "measure_divergence", self._context("trial", 1), network, quantize, splits)

    def certify_models(
        self,
        model_digests: Sequence[str],
        teacher: NetworkRef,
        splits: ray.ObjectRef[Any],
        certify: ray.ObjectRef[Any],
    ) -> list[dict[str, Any]]:
        cpus = self._serial_cpus()
        task = _task("compression_tasks", "certify_models", cpus)
        results: list[dict[str, Any]] = _get(
            task.remote(self._context("certify", cpus), list(model_digests), teacher, splits, certify)
        )
        return results

    def time_model(self, model_digest: str, *, warmup: int, runs: int) -> dict[str, Any]:
        """On a CPU of the cluster, with nothing of this cluster beside it."""
        cpus = self._serial_cpus()
        task = _task("compression_tasks", "time_model", cpus)
        result: dict[str, Any] = _get(task.remote(self._context("measure", 1), model_digest, warmup, runs))
        return result

    def parallel_tasks(self) -> int:
        """How many one-CPU tasks are worth having in flight."""
        return max(int(self._all_cpus()), 1)

    def _run(self, module: str, function: str, *arguments: Any) -> StageOutput:
        """On one CPU."""
        output: StageOutput = _get(_task(module, function, 1).remote(*arguments))
        return output

    def _context(self, stage: str, threads: float) -> TaskContext:
        return TaskContext(
            connection=self._connection, report=self.reporter(stage), threads=min(max(int(threads), 1), _MAX_THREADS)
        )

    def _all_cpus(self) -> float:
        return max(float(_cluster().cluster_resources().get("CPU", 1.0)), 0.01)

    def _serial_cpus(self) -> float:
        """CPUs of the largest node: what a single task can have."""
        largest = max(
            (float(node["Resources"].get("CPU", 0.0)) for node in _cluster().nodes() if node["Alive"]), default=1.0
        )
        return min(largest, _MAX_THREADS) or 1.0


def _cluster() -> Any:
    """Ray's untyped module-level functions."""
    return ray


def _task(module: str, function: str, cpus: float, *, returns: int = 1) -> Any:
    """A remote function by name: the driver does not import what it orders, nor the torch that comes with it."""

    def run(*arguments: Any) -> Any:
        return getattr(importlib.import_module(f"orchestrator.jobs.{module}"), function)(*arguments)

    run.__name__ = run.__qualname__ = function
    return ray.remote(num_cpus=cpus, num_returns=returns, max_retries=_TASK_RETRIES)(run)


def _get(reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayError as error:
        raise _typed(error) from error


def _typed(error: ray.exceptions.RayError) -> OrchestratorError:
    """Our own errors as they were raised in the worker; a bug of ours as a failed job; the rest is the cluster's."""
    if isinstance(error, ray.exceptions.RayTaskError):
        cause = error.cause
        if isinstance(cause, OrchestratorError):
            return cause
        return JobFailedError(f"{type(cause).__name__}: {cause}")
    return ClusterError(f"{type(error).__name__}: {str(error).splitlines()[0]}")
